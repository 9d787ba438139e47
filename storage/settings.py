"""Where an S3 server is and who asks it, from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from storage.objects import StoreError, WrongKeys

_AWS = "s3.amazonaws.com"
_YES, _NO = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


class Conditions(StrEnum):
    """Who decides between two writers of the same record."""

    SERVER = "server"  # the server, by If-None-Match and If-Match
    SINGLE_WRITER = "single-writer"  # nobody: only one process writes records, and that is for its users to see to


@dataclass(frozen=True, slots=True)
class S3Settings:
    """How to reach an S3 server. Its text forms show no secret."""

    endpoint: str  # host, or host:port
    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str | None = "us-east-1"  # None: AWS is asked for that of the bucket
    secure: bool = True  # TLS
    path_style: bool | None = None  # None: on AWS the bucket is part of the host's name, elsewhere of the path
    ca_bundle: str | None = None  # file with the authorities that are trusted, in PEM
    conditions: Conditions = Conditions.SERVER

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "S3Settings":
        """From VEILFARM_S3_…, or what the tools of AWS read where those aren't set. Raises WrongKeys, StoreError."""
        url = _first(env, "VEILFARM_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
        endpoint, secure = _split(url) if url else (_AWS, True)
        ours = "VEILFARM_S3_ACCESS_KEY" in env  # keys come in pairs: never one of ours and one of theirs
        names = ("VEILFARM_S3_ACCESS_KEY", "VEILFARM_S3_SECRET_KEY", "VEILFARM_S3_SESSION_TOKEN")
        if not ours:
            names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        access, secret, token = (_first(env, name) for name in names)
        if not access or not secret:
            todo = "set VEILFARM_S3_ACCESS_KEY and VEILFARM_S3_SECRET_KEY"
            raise WrongKeys(f"{endpoint}: there are no keys for this server; {todo}")
        mode = _first(env, "VEILFARM_S3_CONDITIONS") or Conditions.SERVER
        if mode not in tuple(Conditions):
            raise StoreError(f"VEILFARM_S3_CONDITIONS is {mode!r}; set it to {' or '.join(Conditions)}")
        region = _first(env, "VEILFARM_S3_REGION", "AWS_REGION", "AWS_DEFAULT_REGION")
        return cls(
            endpoint=endpoint,
            access_key=access,
            secret_key=secret,
            session_token=token,
            region=region or (None if endpoint == _AWS else "us-east-1"),
            secure=secure,
            path_style=_flag(env, "VEILFARM_S3_PATH_STYLE"),
            ca_bundle=_first(env, "VEILFARM_S3_CA_BUNDLE", "AWS_CA_BUNDLE"),
            conditions=Conditions(mode),
        )


def _split(url: str) -> tuple[str, bool]:
    parts = urlsplit(url if "://" in url else f"https://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or "@" in parts.netloc:
        raise StoreError("VEILFARM_S3_ENDPOINT isn't a server's address; write it as https://HOST or http://HOST:PORT")
    return parts.netloc, parts.scheme == "https"


def _first(env: Mapping[str, str], *names: str) -> str | None:
    return next((env[name] for name in names if env.get(name)), None)


def _flag(env: Mapping[str, str], name: str) -> bool | None:
    value = env.get(name, "").lower()
    if value and value not in _YES | _NO:
        raise StoreError(f"{name} is {value!r}; set it to 1 or 0")
    return value in _YES if value else None
