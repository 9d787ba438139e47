"""When two films' sound is the same, and which segments are joined."""

import hashlib
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cluster.steps import _check_segment
from pipeline import compare as module
from pipeline.errors import VerifyError
from pipeline.facts import FrameIndex


class FakeStream:
    def __init__(self, index: int, kind: str) -> None:
        self.index, self.type, self.time_base = index, kind, Fraction(1, 25)


class FakeFile:
    def __init__(self) -> None:
        self.streams = [FakeStream(0, "video"), FakeStream(1, "audio")]

    def __enter__(self) -> "FakeFile":
        return self

    def __exit__(self, *args: object) -> None:
        return


@pytest.mark.parametrize(
    ("pairs", "same", "equal", "changed"),
    [
        ({1: 1, 2: 2}, True, True, False),
        ({1: 1, 2: 2}, False, False, True),
        ({1: 1}, True, False, False),
        ({}, True, False, False),
    ],
)
def test_sound_that_is_missing_is_not_equal(
    monkeypatch: pytest.MonkeyPatch, pairs: dict[int, int], same: bool, equal: bool, changed: bool
) -> None:
    def audio(number: int) -> Any:
        return SimpleNamespace(index=number, kind="audio", codec="aac", language="")

    info: Any = SimpleNamespace(
        source=Path("a"),
        streams=(audio(1), audio(2)),
        time_base=Fraction(1, 25),
        moved=Fraction(0),
        metadata=(),
        field_order="progressive",
    )
    ones = np.ones(3, np.int64)
    index = FrameIndex(np.arange(3), ones, ones > 0, ones < 0, (), 0, Fraction(1, 25))
    monkeypatch.setattr(module, "open_input", lambda path: FakeFile())
    monkeypatch.setattr("pipeline.kept.is_copied", lambda stream, info: True)
    monkeypatch.setattr(module, "_stripped", lambda info: ())
    monkeypatch.setattr("pipeline.dynamic.with_late", lambda info, index: info)
    monkeypatch.setattr(module, "_pair", lambda copied, found: (pairs, {}, ()))
    monkeypatch.setattr("pipeline.tracks.read", lambda container, numbers, part: {1: None, 2: None})
    monkeypatch.setattr("pipeline.tracks.same", lambda *args: same)
    monkeypatch.setattr(module, "video_stream", lambda container, number: FakeStream(0, "video"))
    monkeypatch.setattr(module, "_times", lambda *_: (np.arange(3), 0, 0))
    found = module.compare(info, Path("b"), index)
    assert (found.audio_equal, found.sound_changed) == (equal, changed)


def test_a_segment_that_has_changed_is_not_joined(tmp_path: Path) -> None:
    segment = tmp_path / "segment.nut"
    segment.write_bytes(b"checked")
    sha256 = hashlib.sha256(b"checked").hexdigest()
    _check_segment(segment, 3, sha256)
    segment.write_bytes(b"chucked")
    with pytest.raises(VerifyError, match=r"segment 3 has changed.*without --resume"):
        _check_segment(segment, 3, sha256)
    segment.unlink()
    with pytest.raises(VerifyError, match="segment 3"):
        _check_segment(segment, 3, sha256)
