"""Which farm is meant: options before the environment before a file. The only place that reads the last two.

The file is TOML, `~/.config/veilfarm.toml`, and has room for `server`, `token-file` and `store`. A token itself has no
place on a command line, which everybody on the machine can see, nor in a file of settings, which people show around.
"""

import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.config import UsageError

_KEYS = ("server", "store", "token-file")


@dataclass(frozen=True, slots=True)
class Chosen:
    """One of `store` and `server` is set. `notice`: what a person should know."""

    store: str = ""
    server: str = ""
    token: str = field(default="", repr=False)
    notice: str = ""


def choose(
    store: str | None, server: str | None, token_file: Path | None, environ: Mapping[str, str] | None = None
) -> Chosen:
    """What is meant by these options. Raises UsageError."""
    env = os.environ if environ is None else environ
    if store and server:
        raise UsageError("--store and --server name two farms", "", "give one of them")
    if store:
        return Chosen(store=store)
    if not server and env.get("VEILFARM_STORE") and not env.get("VEILFARM_SERVER"):
        return Chosen(store=env["VEILFARM_STORE"])
    said = {} if (server or env.get("VEILFARM_SERVER")) and _has_token(token_file, env) else _file(env)
    url = server or env.get("VEILFARM_SERVER", "") or said.get("server", "")
    if not url:
        if said.get("store"):
            return Chosen(store=said["store"])
        todo = "name a store by --store or VEILFARM_STORE, or a server by --server or VEILFARM_SERVER"
        raise UsageError("which farm?", "no store and no server is named", todo)
    token, notice = _token(token_file, env, said)
    return Chosen(server=url, token=token, notice=notice)


def cache(environ: Mapping[str, str] | None = None) -> Path:
    """Where this user's programs keep what can be lost."""
    env = os.environ if environ is None else environ
    return Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _has_token(token_file: Path | None, env: Mapping[str, str]) -> bool:
    return token_file is not None or bool(env.get("VEILFARM_TOKEN") or env.get("VEILFARM_TOKEN_FILE"))


def _file(env: Mapping[str, str]) -> dict[str, str]:
    """Raises UsageError for a file that isn't as it must be."""
    named = env.get("VEILFARM_CONFIG")
    path = Path(named) if named else Path(env.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "veilfarm.toml"
    try:
        said: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if named:
            raise UsageError(f"VEILFARM_CONFIG: there is no {path}", "", "check the path") from error
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} can't be read", str(error), "correct it; it is TOML") from error
    if "token" in said:
        todo = "put it into a file of its own, and name that by token-file"
        raise UsageError(f"{path}: no token belongs in here", "settings are shown around", todo)
    for name, value in said.items():
        if name not in _KEYS:
            raise UsageError(f"{path}: {name} is unknown", f"known are {', '.join(_KEYS)}", "correct it")
        if not isinstance(value, str):
            raise UsageError(f"{path}: {name} is no text", "", "put it in quotes")
    if "token-file" in said:
        said["token-file"] = str(path.parent / Path(said["token-file"]).expanduser())
    return said


def _token(token_file: Path | None, env: Mapping[str, str], said: Mapping[str, str]) -> tuple[str, str]:
    """(the token, what a person should know). Raises UsageError."""
    if token_file is None and env.get("VEILFARM_TOKEN"):
        return env["VEILFARM_TOKEN"].strip(), ""
    named = env.get("VEILFARM_TOKEN_FILE") or said.get("token-file")
    path = token_file or (Path(named) if named else None)
    if path is None:
        todo = "set VEILFARM_TOKEN, or name a file by --token-file"
        raise UsageError("a server wants a token", "none is given", todo)
    try:
        token, mode = path.read_text(encoding="ascii").strip(), path.stat().st_mode
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise UsageError(f"the token file {path} can't be read", why, "check the path") from error
    if not token:
        raise UsageError(f"the token file {path} is empty", "", "put a token into it")
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        return token, f"others can read the token {path}; protect it with: chmod 600 {path}"
    return token, ""
