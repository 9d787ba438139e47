"""Which farm is meant: options before the environment before the file."""

from pathlib import Path

import pytest

from cluster import common
from cluster.config import UsageError
from cluster.ways.far import Far
from cluster.ways.pending import Pending
from cluster.ways.settings import choose

TOML = 'server = "https://filed"\ntoken-file = "filed.token"\nstore = "/filed"\n'


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """With a file of settings, and one with a token."""
    (tmp_path / "veilfarm.toml").write_text(TOML)
    (tmp_path / "filed.token").write_text("vf_filed\n")
    (tmp_path / "filed.token").chmod(0o600)
    return {"XDG_CONFIG_HOME": str(tmp_path)}


@pytest.mark.parametrize(
    ("store", "server", "more", "found"),
    [
        ("/s", None, {"VEILFARM_SERVER": "https://e"}, ("/s", "", "")),
        (None, "https://o", {"VEILFARM_STORE": "/e", "VEILFARM_TOKEN": "vf_e"}, ("", "https://o", "vf_e")),
        (None, "https://o", {}, ("", "https://o", "vf_filed")),
        (None, None, {"VEILFARM_STORE": "/e"}, ("/e", "", "")),
        (None, None, {"VEILFARM_STORE": "/e", "VEILFARM_SERVER": "https://e"}, ("", "https://e", "vf_filed")),
        (None, None, {"VEILFARM_TOKEN": " vf_e\n"}, ("", "https://filed", "vf_e")),
        (None, None, {}, ("", "https://filed", "vf_filed")),
    ],
)
def test_what_is_nearer_wins(
    env: dict[str, str], store: str | None, server: str | None, more: dict[str, str], found: tuple[str, str, str]
) -> None:
    chosen = choose(store, server, None, {**env, **more})
    assert (chosen.store, chosen.server, chosen.token) == found
    assert "vf_" not in repr(chosen)


def test_a_file_with_a_store_alone(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('store = "/filed"')
    assert choose(None, None, None, {"VEILFARM_CONFIG": str(tmp_path / "c.toml")}).store == "/filed"


def test_a_token_in_a_file(env: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.write_text("vf_mine\n")
    path.chmod(0o640)
    chosen = choose(None, None, path, {**env, "VEILFARM_TOKEN": "vf_e"})
    assert chosen.token == "vf_mine"
    assert "chmod 600" in chosen.notice
    assert choose(None, None, None, {**env, "VEILFARM_TOKEN_FILE": str(path)}).token == "vf_mine"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('token = "vf_x"', "no token belongs in here"),
        ('sever = "x"', "sever is unknown; known are server, store, token-file"),
        ("server = 3", "is no text"),
        ("server = ", "can't be read"),
    ],
)
def test_files_that_cant_be(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "veilfarm.toml").write_text(content)
    with pytest.raises(UsageError) as found:
        choose(None, None, None, {"XDG_CONFIG_HOME": str(tmp_path)})
    assert says in str(found.value)
    assert "vf_x" not in str(found.value)


def test_what_names_no_farm(tmp_path: Path) -> None:
    nowhere = {"XDG_CONFIG_HOME": str(tmp_path)}
    with pytest.raises(UsageError, match="which farm"):
        choose(None, None, None, nowhere)
    with pytest.raises(UsageError, match="name two farms"):
        choose("/s", "https://o", None, nowhere)
    with pytest.raises(UsageError, match="wants a token"):
        choose(None, "https://o", None, nowhere)
    with pytest.raises(UsageError, match="there is no"):
        choose(None, None, None, {"VEILFARM_CONFIG": str(tmp_path / "none.toml")})
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(UsageError, match="is empty"):
        choose(None, "https://o", tmp_path / "empty", nowhere)
    with pytest.raises(UsageError, match="can't be read"):
        choose(None, "https://o", tmp_path / "none", nowhere)


def test_a_token_that_others_can_read_on_its_way_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VEILFARM_TOKEN", "vf_x")
    for url, warned in (("http://farm.example", True), ("https://farm.example", False), ("http://[::1]:8470", False)):
        assert isinstance(common.way(None, url, None), Far)
        assert ("has no TLS" in capsys.readouterr().err) is warned


def test_uploads_that_are_pending(tmp_path: Path) -> None:
    film = tmp_path / "a.mp4"
    film.write_bytes(b"film")
    pending = Pending(tmp_path / "cache")
    assert pending.find("https://a", "kim", film) is None
    pending.keep("https://a", "kim", film, "0" * 26)
    assert pending.find("https://a", "kim", film) == "0" * 26
    assert pending.find("https://b", "kim", film) is None
    assert pending.find("https://a", "lee", film) is None
    (file,) = (tmp_path / "cache/veilfarm-uploads").iterdir()
    assert file.stat().st_mode & 0o077 == 0
    film.write_bytes(b"other")
    assert pending.find("https://a", "kim", film) is None
    pending.drop("https://a", "kim", film)
    pending.drop("https://a", "kim", tmp_path / "none.mp4")
    assert pending.find("https://a", "kim", tmp_path / "none.mp4") is None
