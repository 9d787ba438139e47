"""What can be told of the S3 store without a server: settings, addresses, errors, patience."""

import inspect
import pickle
import ssl
import traceback
from pathlib import Path

import minio.error
import pytest
import urllib3.exceptions
from urllib3 import HTTPHeaderDict

from storage import objects, s3errors
from storage.address import is_object, open_store, parse_object
from storage.folder import FolderStore
from storage.objects import (
    ClockSkew,
    Interrupted,
    NoSuchBucket,
    NoSuchObject,
    NotPermitted,
    NotSupported,
    StoreError,
    StoreFull,
    Unreachable,
    WrongKeys,
)
from storage.retry import Patience
from storage.s3 import S3Store
from storage.s3errors import of_code, skew, translated
from storage.settings import Conditions, S3Settings

KEYS = {"VEILFARM_S3_ACCESS_KEY": "me", "VEILFARM_S3_SECRET_KEY": "hush"}


def test_settings_from_the_environment() -> None:
    env = {
        **KEYS,
        "VEILFARM_S3_ENDPOINT": "http://store:9000/",
        "VEILFARM_S3_REGION": "garage",
        "VEILFARM_S3_SESSION_TOKEN": "token",
        "VEILFARM_S3_PATH_STYLE": "no",
        "VEILFARM_S3_CA_BUNDLE": "/ca.pem",
        "VEILFARM_S3_CONDITIONS": "single-writer",
        "AWS_ENDPOINT_URL": "https://elsewhere",
        "AWS_ACCESS_KEY_ID": "other",
    }
    assert S3Settings.from_env(env) == S3Settings(
        "store:9000", "me", "hush", "token", "garage", False, False, "/ca.pem", Conditions.SINGLE_WRITER
    )


def test_settings_of_the_tools_of_aws() -> None:
    env = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "hush", "AWS_SESSION_TOKEN": "token"}
    assert S3Settings.from_env(env) == S3Settings("s3.amazonaws.com", "me", "hush", "token", None)
    env |= {"AWS_ENDPOINT_URL": "https://a", "AWS_ENDPOINT_URL_S3": "https://b", "AWS_DEFAULT_REGION": "eu-west-1"}
    assert S3Settings.from_env(env) == S3Settings("b", "me", "hush", "token", "eu-west-1")


def test_keys_come_in_pairs() -> None:
    env = {"VEILFARM_S3_ACCESS_KEY": "me", "AWS_SECRET_ACCESS_KEY": "theirs"}
    with pytest.raises(WrongKeys, match="set VEILFARM_S3_ACCESS_KEY and VEILFARM_S3_SECRET_KEY"):
        S3Settings.from_env(env)
    with pytest.raises(WrongKeys):
        S3Settings.from_env({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VEILFARM_S3_ENDPOINT", "ftp://x"),
        ("VEILFARM_S3_ENDPOINT", "https://me:hush@x"),
        ("VEILFARM_S3_ENDPOINT", "https://x/bucket"),
        ("VEILFARM_S3_CONDITIONS", "maybe"),
        ("VEILFARM_S3_PATH_STYLE", "maybe"),
    ],
)
def test_settings_that_mean_nothing(name: str, value: str) -> None:
    with pytest.raises(StoreError, match=name) as error:
        S3Settings.from_env({**KEYS, name: value})
    assert "hush" not in str(error.value)


def test_no_secret_is_shown(tmp_path: Path) -> None:
    env = {**KEYS, "VEILFARM_S3_SESSION_TOKEN": "token", "VEILFARM_CACHE": str(tmp_path)}
    shown = f"{S3Settings.from_env(env)!r} {S3Settings.from_env(env)} {open_store('s3://films/a', env)!r}"
    assert "hush" not in shown
    assert "token=" not in shown
    assert "me" in shown


def test_addresses(tmp_path: Path) -> None:
    env = {**KEYS, "VEILFARM_CACHE": str(tmp_path / "cache"), "VEILFARM_S3_ENDPOINT": "http://store:9000"}
    store = open_store("s3://films/farm/one/", env)
    assert repr(store) == "S3Store(s3://films/farm/one/ at store:9000)"
    assert open_store("s3://films/farm/one", env) is store
    assert repr(open_store("s3://films", env)) == "S3Store(s3://films/ at store:9000)"
    folder = open_store(str(tmp_path / "store"), env)
    assert isinstance(folder, FolderStore)
    assert folder.root == tmp_path / "store"
    source, key = parse_object("s3://films/in/Gespräch 1.mp4", env)
    assert (repr(source), key) == ("S3Store(s3://films/ at store:9000)", "in/Gespräch 1.mp4")
    source, key = parse_object(str(tmp_path / "in.mp4"), env)
    assert (repr(source), key) == (f"FolderStore({tmp_path})", "in.mp4")
    assert [is_object(each) for each in ("s3://a/b", "/s3://a", "a", "", None)] == [True, False, False, False, False]


@pytest.mark.parametrize("url", ["s3://", "s3:///x", "s3://films/../x", "s3://films//x", "gs://films/x"])
def test_what_is_no_address(tmp_path: Path, url: str) -> None:
    with pytest.raises(StoreError):
        open_store(url, {**KEYS, "VEILFARM_CACHE": str(tmp_path)})


@pytest.mark.parametrize("url", ["s3://films", "s3://films/", "s3://films/a/", "s3://films/../x"])
def test_what_is_no_object(tmp_path: Path, url: str) -> None:
    with pytest.raises(StoreError, match="s3://BUCKET/KEY"):
        parse_object(url, {**KEYS, "VEILFARM_CACHE": str(tmp_path)})


def test_presigned_urls_go_to_the_bucket_in_the_style_that_is_asked_for(tmp_path: Path) -> None:
    env = {**KEYS, "VEILFARM_CACHE": str(tmp_path)}
    at_aws = open_store("s3://films", {**env, "AWS_REGION": "eu-west-1"})
    assert at_aws.presigned("a", 60).startswith("https://films.s3.eu-west-1.amazonaws.com/a?")
    local = {**env, "VEILFARM_S3_ENDPOINT": "http://store:9000"}
    assert open_store("s3://films", local).presigned("a", 60).startswith("http://store:9000/films/a?")
    virtual = {**local, "VEILFARM_S3_PATH_STYLE": "0"}
    assert open_store("s3://films", virtual).presigned("a", 60).startswith("http://films.store:9000/a?")


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("NoSuchKey", 404, NoSuchObject),
        ("", 404, NoSuchObject),
        ("NoSuchUpload", 404, NoSuchObject),
        ("NoSuchBucket", 404, NoSuchBucket),
        ("InvalidAccessKeyId", 403, WrongKeys),
        ("SignatureDoesNotMatch", 403, WrongKeys),
        ("ExpiredToken", 400, WrongKeys),
        ("RequestTimeTooSkewed", 403, ClockSkew),
        ("AccessDenied", 403, NotPermitted),
        ("", 401, NotPermitted),
        ("QuotaExceeded", 403, StoreFull),
        ("XMinioStorageFull", 507, StoreFull),
        ("", 507, StoreFull),
        ("NotImplemented", 501, NotSupported),
        ("SlowDown", 503, Interrupted),
        ("InternalError", 500, Interrupted),
        ("", 429, Interrupted),
        ("RequestTimeout", 400, Interrupted),
        ("PermanentRedirect", 301, StoreError),
        ("AuthorizationHeaderMalformed", 400, StoreError),
        ("InvalidArgument", 400, StoreError),
    ],
)
def test_what_servers_say(code: str, status: int, kind: type[StoreError]) -> None:
    error = of_code("s3://films/a", code, status, {})
    assert type(error) is kind
    what, why, todo = str(error).partition("; ")[0], str(error), str(error).partition("; ")[2]
    assert what.startswith("s3://films/a: ")
    assert code in why
    assert todo


def test_a_wrong_clock_is_told_in_seconds() -> None:
    headers = HTTPHeaderDict({"Date": "Tue, 24 Nov 2026 12:00:00 GMT"})
    assert skew(headers, now=1795521600.0 + 90) == 90
    assert skew(HTTPHeaderDict({"Date": "today"})) is None
    assert skew(HTTPHeaderDict()) is None


def test_every_kind_of_error_has_its_words() -> None:
    kinds = {each for each in vars(objects).values() if inspect.isclass(each) and issubclass(each, StoreError)}
    assert kinds - {objects.Transient} == set(s3errors._KINDS)


def foreign_errors() -> list[type[Exception]]:
    found = [each for module in (minio.error, urllib3.exceptions) for each in vars(module).values()]
    kinds = (minio.error.MinioException, urllib3.exceptions.HTTPError)
    return [each for each in found if inspect.isclass(each) and issubclass(each, kinds)]


@pytest.mark.parametrize("kind", foreign_errors(), ids=lambda kind: kind.__name__)
def test_no_foreign_error_gets_out(kind: type[Exception]) -> None:
    """One of each class that the SDK and its HTTP library have."""
    if kind is minio.error.S3Error:
        response = urllib3.HTTPResponse(status=403)
        error: Exception = minio.error.S3Error(response, "AccessDenied", "hush", "hush", "1", "1")
    elif kind is minio.error.ServerError:
        error = minio.error.ServerError("hush", 502)
    elif kind is minio.error.InvalidResponseError:
        error = minio.error.InvalidResponseError(403, "text/plain", "hush")
    else:
        error = kind.__new__(kind, "hush")
    with pytest.raises(StoreError, match=r"^here: .+; ") as caught, translated("here"):
        raise error
    assert "hush" not in str(caught.value)


def test_our_own_errors_pass() -> None:
    with pytest.raises(NoSuchBucket, match=r"^as it was$"), translated("here"):
        raise NoSuchBucket("as it was")


def test_errors_cross_process_borders() -> None:
    error = pickle.loads(pickle.dumps(of_code("s3://films/a", "SlowDown", 503, {})))
    assert type(error) is Interrupted
    assert "SlowDown" in str(error)


def test_a_certificate_that_is_not_trusted() -> None:
    inner = ssl.SSLCertVerificationError(1, "CERTIFICATE_VERIFY_FAILED")
    with pytest.raises(Unreachable, match="VEILFARM_S3_CA_BUNDLE"), translated("here"):
        raise urllib3.exceptions.SSLError(inner)


def test_pauses_double_up_to_a_bound_and_are_drawn_from_all_of_it() -> None:
    pauses: list[float] = []
    patience = Patience(
        attempts=8, base=0.5, cap=10, total=1000, sleep=pauses.append, clock=lambda: 0, chance=lambda: 1
    )
    assert list(patience.tries()) == list(range(8))
    assert pauses == [1, 2, 4, 8, 10, 10, 10]
    pauses.clear()
    list(Patience(attempts=3, sleep=pauses.append, chance=lambda: 0.0).tries())
    assert pauses == [0, 0]


def test_patience_is_bounded_in_time() -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    patience = Patience(attempts=100, base=1, cap=10, total=30, sleep=sleep, clock=lambda: now[0], chance=lambda: 1)
    assert len(list(patience.tries())) == 5  # after 2, 4, 8, 10 s; the next would be after 34 s
    assert now[0] <= 30


def test_the_default_patience_is_a_matter_of_seconds() -> None:
    pauses: list[float] = []
    list(Patience(sleep=pauses.append, clock=lambda: sum(pauses), chance=lambda: 0.5).tries())
    assert len(pauses) == 9
    assert 20 < sum(pauses) < 30


def test_nothing_is_sent_before_it_is_asked_for(tmp_path: Path) -> None:
    """A command must be able to say what is wrong before it talks to anybody."""
    env = {**KEYS, "VEILFARM_S3_ENDPOINT": "http://nowhere.invalid", "VEILFARM_CACHE": str(tmp_path)}
    store = open_store("s3://films", env)
    assert isinstance(store, S3Store)
    assert "X-Amz-Signature" in store.presigned("a", 60)


def test_a_bucket_name_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(NoSuchBucket, match="typing error") as error:
        open_store("s3://No", {**KEYS, "VEILFARM_CACHE": str(tmp_path)})
    assert "hush" not in "".join(traceback.format_exception(error.value))
