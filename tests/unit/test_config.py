"""What a command line means."""

from fractions import Fraction
from pathlib import Path

import pytest

from cluster import config, processes
from cluster.config import UsageError, encoding, moment, output_suffix, pool_settings, project_key
from cluster.job import Encoding, Moment
from cluster.planning import chunk_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("12.5", Fraction(25, 2)),
        ("0.001", Fraction(1, 1000)),
        ("1:30", 90),
        ("01:02:03.25", Fraction(14893, 4)),
        ("100:00:00", 360000),
    ],
)
def test_times_are_exact(text: str, seconds: Fraction) -> None:
    assert moment(text) == Moment(Fraction(seconds), None)


def test_frames() -> None:
    assert moment("120f") == Moment(None, 120)


@pytest.mark.parametrize("text", ["", "f", "-1", "1:2:3:4", "1e3", "12,5", "1.5f", "nan", "inf", " 1"])
def test_no_times(text: str) -> None:
    with pytest.raises(UsageError):
        moment(text)


def test_qualities_by_name() -> None:
    film = Path("out.mp4")
    assert encoding("good", None, film) == Encoding(None, None, 0, None)
    draft, good, best = (encoding(name, "h264", film) for name in config.QUALITIES)
    assert draft.crf_offset > good.crf_offset > best.crf_offset
    assert draft.preset == "superfast"
    assert good.preset is None
    assert best.preset == "medium"


def test_qualities_by_number() -> None:
    assert encoding("23", None, Path("out.mp4")) == Encoding(None, 23, 0, None)
    assert encoding("63:slow", "av1", Path("out.webm")) == Encoding("av1", 63, 0, "slow")


def test_webm_takes_av1() -> None:
    assert encoding("good", None, Path("out.webm")).codec == "av1"


@pytest.mark.parametrize(
    ("quality", "codec", "name"),
    [
        ("fine", None, "out.mp4"),
        ("0", None, "out.mp4"),
        ("52", "h264", "out.mp4"),
        ("52", None, "out.mp4"),
        ("64", "av1", "out.mp4"),
        ("20:warp", None, "out.mp4"),
        ("good", "h264", "out.webm"),
        ("good", "av1", "out.mov"),
        ("good", None, "out.avi"),
        ("good", None, "out"),
        ("good", None, "out.txt"),
    ],
)
def test_what_cannot_be_encoded(quality: str, codec: str | None, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        encoding(quality, codec, Path(name))
    assert caught.value.why
    assert caught.value.todo


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.mp4", ".mp4"), ("a.MKV", ".MKV"), ("a.webm", ".webm"), ("a.ts", ".mp4"), ("a.avi", ".mp4"), ("a.mpg", ".mp4")],
)
def test_outputs_keep_their_container_where_it_holds_exact_times(name: str, suffix: str) -> None:
    assert output_suffix(Path(name)) == suffix


def test_a_project_key_is_told_by_a_fingerprint_only(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"correct horse battery staple")
    key.chmod(0o600)
    fingerprint, warning = project_key(key)
    assert warning is None
    assert len(fingerprint) == 16
    assert b"correct".hex() not in fingerprint
    key.write_bytes(b"correct horse battery stapler")
    assert project_key(key)[0] != fingerprint


def test_a_key_that_others_can_read(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"0" * config.KEY_BYTES)
    key.chmod(0o644)
    assert "chmod 600" in str(project_key(key)[1])


@pytest.mark.parametrize("content", [None, b"", b"0" * (config.KEY_BYTES - 1)])
def test_keys_that_are_none(tmp_path: Path, content: bytes | None) -> None:
    key = tmp_path / "key"
    if content is not None:
        key.write_bytes(content)
    with pytest.raises(UsageError):
        project_key(key)


def test_one_worker_per_core_as_far_as_memory_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "cores", lambda: 8)
    monkeypatch.setattr(processes, "memory", lambda: 64 << 30)
    assert (pool_settings(None, "cpu", 0).workers, pool_settings(None, "cpu", 0).threads) == (8, 1)
    assert (pool_settings(2, "cpu", 0).workers, pool_settings(2, "cpu", 0).threads) == (2, 4)
    assert pool_settings(16, "cpu", 0).threads == 1
    monkeypatch.setattr(processes, "memory", lambda: 5 << 30)
    assert (pool_settings(None, "cpu", 0).workers, pool_settings(None, "cpu", 0).threads) == (2, 4)


def test_gpu_workers_leave_cores_to_the_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "cores", lambda: 16)
    settings = pool_settings(None, "cuda", 2)
    assert (settings.workers, settings.threads, settings.gpus) == (4, 4, 2)
    assert pool_settings(None, "cpu", 2).gpus == 0


def test_chunks_are_bounded_in_seconds_and_in_frames() -> None:
    assert chunk_seconds(Fraction(3600), 2) == 12
    assert chunk_seconds(Fraction(3600), 2, Fraction(25)) == 12
    assert chunk_seconds(Fraction(3600), 2, Fraction(100)) == 4


def test_every_worker_gets_as_many_chunks() -> None:
    assert chunk_seconds(Fraction(20), 2) == 5
    assert chunk_seconds(Fraction(70), 2, Fraction(25)) == Fraction(70, 6)
    assert chunk_seconds(Fraction(70), 2, Fraction(50)) == Fraction(70, 10)
    assert chunk_seconds(Fraction(1), 8) == 1
