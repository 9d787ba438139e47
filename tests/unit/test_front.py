"""Options of `serve` for its outer side, and the commands token and logs."""

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from cluster import cli
from cluster.book import Book
from cluster.config import UsageError
from cluster.front import Address, front_settings
from cluster.job import Step
from cluster.ledger import Ledger, Unit
from cluster.users import Role, Users
from storage.folder import FolderStore


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("sixteen bytes or more\n")
    return path


def test_by_default_the_api_is_for_this_machine_only() -> None:
    found = front_settings(None, False, (), None, ())
    assert found.listen == Address("127.0.0.1", 8470, False)
    assert (found.webhooks, found.secret, found.allow) == ((), b"", ())


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:80", Address("0.0.0.0", 80, True)),
        ("[::1]:8470", Address("::1", 8470, True)),
        ("farm.example:0", Address("farm.example", 0, True)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert front_settings(text, False, (), None, ()).listen == address
    assert front_settings(text, True, (), None, ()).listen is None


@pytest.mark.parametrize("text", ["", "8470", "host", ":8470", "host:", "host:x", "host:65536", "host:-1", "host:²"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="is no address"):
        front_settings(text, False, (), None, ())


def test_webhooks_are_signed(secret: Path, tmp_path: Path) -> None:
    found = front_settings(None, False, ["https://desk/hook"], secret, ())
    assert (found.webhooks, found.secret) == (("https://desk/hook",), b"sixteen bytes or more")
    with pytest.raises(UsageError, match="needs --webhook-secret"):
        front_settings(None, False, ["https://desk/hook"], None, ())
    with pytest.raises(UsageError, match="no http"):
        front_settings(None, False, ["file:///etc/passwd"], secret, ())
    secret.write_text("too short\n\n\n\n\n\n\n\n\n\n")
    with pytest.raises(UsageError, match="is too short"):
        front_settings(None, False, ["https://desk/hook"], secret, ())
    with pytest.raises(UsageError, match="can't be read"):
        front_settings(None, False, ["https://desk/hook"], tmp_path / "none", ())


def test_places_that_are_none() -> None:
    with pytest.raises(UsageError, match="neither a folder"):
        front_settings(None, False, (), None, ["https://films/in"])


def test_a_signal_to_end_stops_the_service_and_the_alarm_that_ray_sets(tmp_path: Path) -> None:
    """Ray's handler, which runs first, lets the process be aborted after three seconds; chunks get more."""
    from cluster.farmcommands import _serve

    class Endless:
        stopped = False

        def run(self) -> None:
            signal.alarm(60)
            os.kill(os.getpid(), signal.SIGTERM)
            while not self.stopped:
                time.sleep(0.01)
            self.left = signal.alarm(0)

        def stop(self) -> None:
            self.stopped = True

    class Still:
        def start(self, *_: object) -> None:
            return

        def close(self) -> None:
            return

    service: Any = Endless()
    before = signal.getsignal(signal.SIGTERM)
    assert _serve(service, Still(), Still(), print) == 0  # type: ignore[arg-type]
    assert service.left == 0
    assert signal.getsignal(signal.SIGTERM) is before


# Commands.


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    found = str(tmp_path / "store")
    monkeypatch.setenv("VEILFARM_STORE", found)
    return found


def test_a_token_for_somebody_new(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["token", "kim", "--role", "reviewer", "--team", "news", "--days", "2", "--label", "laptop"]) == 0
    text = capsys.readouterr().out.strip()
    users = Users(FolderStore(Path(place)))
    found = users.who(text)
    assert found is not None
    assert (found.name, found.role, found.team) == ("kim", Role.REVIEWER, "news")
    (token,) = users.tokens("kim")
    assert token.label == "laptop"
    assert token.expires == pytest.approx(token.made + 2 * 86400)


def test_another_token_and_its_end(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    cli.run(["token", "kim"])
    cli.run(["token", "kim"])
    first, second = capsys.readouterr().out.split()
    users = Users(FolderStore(Path(place)))
    name = first.split("_")[1]
    assert cli.run(["token", "kim", "--revoke", name]) == 0
    shown = capsys.readouterr().out
    assert re.search(rf"{name}.*revoked", shown)
    assert re.search(r"never +good", shown)
    assert users.who(first) is None
    assert users.who(second) is not None
    assert not any(secret in shown for secret in (first[-43:], second[-43:]))


def test_tokens_that_cant_be(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    cli.run(["token", "kim"])
    cli.run(["token", "lee"])
    name = capsys.readouterr().out.split()[1].split("_")[1]
    wrong = {
        "can't be a name": ["token", "Kim!"],
        "there is a user kim already": ["token", "kim", "--role", "admin"],
        "kim has no token": ["token", "kim", "--revoke", name],
        "there is no user sam": ["token", "sam", "--list"],
    }
    for words, arguments in wrong.items():
        assert cli.run(arguments) == 2
        assert words in capsys.readouterr().err


def test_logs_of_a_job(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    from apifarm import submit

    book = Book(FolderStore(Path(place)))
    job = submit(book)
    ledger = Ledger(book.store, job)
    ledger.keep_log(Unit(Step.STITCH), "A", b'{"text": "stitching"}\n')
    ledger.keep_log(Unit(Step.INGEST), "B", b'{"text": "opening"}\n')
    assert cli.run(["logs", job[-8:]]) == 0
    assert capsys.readouterr().out == '{"text": "opening"}\n{"text": "stitching"}\n'
    assert cli.run(["logs", job, "--unit", "stitch"]) == 0
    assert capsys.readouterr().out == '{"text": "stitching"}\n'
    assert cli.run(["logs", job, "--unit", "render:0"]) == 0
    assert capsys.readouterr().out == ""
    for wrong in ("render", "stitch:0", "render:x", "dance", "render:-1", ""):
        assert cli.run(["logs", job, "--unit", wrong]) == 2
        assert "is unknown" in capsys.readouterr().err
