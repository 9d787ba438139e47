"""Text subtitles that a container can't hold: left out and told, or as its own kind of text, word for word."""

from fractions import Fraction
from pathlib import Path

import av
import pytest
from carry import carry, segments_of
from filmgen import Film, ffmpeg, make

from pipeline import video
from pipeline.compare import Comparison, compare
from pipeline.stitch import stitch
from pipeline.subtitles import Cue, alone, timed_words, words

SRT = """1
00:00:00,100 --> 00:00:00,700
Good <i>morning</i>

2
00:00:00,500 --> 00:00:01,000
2 < 3 & {so} on

3
00:00:01,000 --> 00:00:01,300
überall
zwei Zeilen
"""
SAID = [
    (100, 500, "Good morning"),
    (500, 700, "Good morning\n2 < 3 & {so} on"),
    (700, 1000, "2 < 3 & {so} on"),
    (1000, 1300, "überall\nzwei Zeilen"),
]
ASS = """[Script Info]
ScriptType: v4.00+
[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, Bold, Italic, Alignment
Style: Default,Arial,16,&Hffffff,0,0,2
Style: Thought,Arial,16,&Hffffff,0,1,2
[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:00.10,0:00:00.50,Default,,0,0,0,,{\\pos(10,20)}Hello <b> you
Dialogue: 0,0:00:00.50,0:00:00.90,Default,,0,0,0,,{\\p1}m 0 0 l 10 10{\\p0}
Dialogue: 0,0:00:01.00,0:00:01.20,Thought,,0,0,0,,where?\\Nthere
"""


def _film(folder: Path, text: str, kind: str, codec: str, container: str) -> Path:
    plain, written = make(Film(frames=40, sound=0), folder / "plain.mp4"), folder / f"text.{kind}"
    written.write_text(text)
    path = folder / f"film.{container}"
    coder = codec if codec != "webvtt" else "copy"
    ffmpeg("-i", plain, "-i", written, "-map", "0", "-map", "1", "-c", "copy", "-c:s", coder,
           "-metadata:s:s:0", "language=deu", "-disposition:s:0", "forced", path)  # fmt: skip
    return path


def _converted(source: Path, target: Path, codec: str, part: tuple[int, int] | None = None) -> Comparison:
    info, index = carry(source, target.with_name(f"left{target.suffix}"), codec, part)
    first, last = part or (0, len(index))
    parts = segments_of(source, target.parent, index, part)
    stitch(info, index, parts, target, first=first, last=last, convert_audio=True, convert_subtitles=True).rename(
        target
    )
    return compare(info, target, index, first, last, threads=1)


def _said(path: Path, base: Fraction = Fraction(1, 1000)) -> list[tuple[int, int, str]]:
    with av.open(path) as container:
        number = container.streams.subtitles[0].index
    return [(round(a / base), round(b / base), text) for a, b, text in timed_words(path, number, None)]


@pytest.mark.parametrize(
    ("codec", "container", "suffix", "video_codec", "becomes"),
    [
        ("subrip", "mkv", "mp4", "h264", "mov_text"),
        ("subrip", "mkv", "mov", "h264", "mov_text"),
        ("subrip", "mkv", "webm", "av1", "webvtt"),
        ("webvtt", "mkv", "mp4", "h264", "mov_text"),
        ("mov_text", "mp4", "mkv", "h264", "subrip"),
        ("mov_text", "mp4", "webm", "av1", "webvtt"),
    ],
)
def test_every_word_keeps_its_time(
    tmp_path: Path, codec: str, container: str, suffix: str, video_codec: str, becomes: str
) -> None:
    text = SRT.replace("00,500", "00,700") if codec == "mov_text" else SRT  # MP4 has one cue at a time
    written = text if codec != "webvtt" else "WEBVTT\n\n" + text.replace("00,", "00.").replace("01,", "01.")
    escaped = written.replace("&", "&amp;").replace("< ", "&lt; ") if codec == "webvtt" else written
    source = _film(tmp_path, escaped, "vtt" if codec == "webvtt" else "srt", codec, container)
    target = tmp_path / f"out.{suffix}"
    found = _converted(source, target, video_codec)
    assert (found.streams_lost, found.changed, found.pts_equal) == ((), (), True)
    assert any(f"subtitle {codec} deu: {becomes}, of its looks only" in line for line in found.converted)
    assert _said(target) == _said(source)
    if codec != "mov_text":
        assert _said(target) == SAID
    with av.open(target) as file:
        track = file.streams.subtitles[0]
        language = "ger" if suffix == "mov" else "deu"  # two spellings of one number in QuickTime
        assert (track.language, track.codec_context.codec.canonical_name) == (language, becomes)
        assert suffix == "mov" or track.disposition & av.stream.Disposition.forced
        kept = [bytes(packet) for packet in file.demux(track)]
    if becomes != "mov_text":
        assert kept[0] == b"Good <i>morning</i>"


@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_looks_are_left_behind_and_words_are_not(tmp_path: Path, suffix: str) -> None:
    source, target = _film(tmp_path, ASS, "ass", "ass", "mkv"), tmp_path / f"out.{suffix}"
    found = _converted(source, target, "h264" if suffix == "mp4" else "av1")
    assert (found.streams_lost, found.changed) == ((), ())
    assert _said(target) == [(100, 500, "Hello <b> you"), (1000, 1200, "where?\nthere")]


def test_a_part_has_its_own_words_only(tmp_path: Path) -> None:
    source, target = _film(tmp_path, SRT, "srt", "subrip", "mkv"), tmp_path / "out.mp4"
    found = _converted(source, target, "h264", part=(15, 20))  # 0.6 s to 0.8 s
    assert (found.streams_lost, found.changed) == ((), ())
    assert [text for _, _, text in _said(target)] == ["Good morning\n2 < 3 & {so} on", "2 < 3 & {so} on"]
    assert _said(target)[0][:2] == (0, 100)


def test_without_the_switch_it_is_left_out_and_told(tmp_path: Path) -> None:
    source, target = _film(tmp_path, SRT, "srt", "subrip", "mkv"), tmp_path / "out.mp4"
    info, index = carry(source, target, "h264")
    assert compare(info, target, index, threads=1).streams_lost == ("stream 1 subtitle subrip deu",)


def test_other_words_or_times_are_noticed(tmp_path: Path) -> None:
    source = _film(tmp_path, SRT, "srt", "subrip", "mkv")
    info = video.ingest(source, tmp_path)
    index = video.index(info, threads=1)
    for name, text in (("word", SRT.replace("morning", "evening")), ("time", SRT.replace("01,300", "01,350"))):
        for codec, container in (("mov_text", "mp4"), ("subrip", "mkv")):
            (folder := tmp_path / f"{name}-{container}").mkdir()
            other = _film(folder, text, "srt", codec, container)
            assert compare(info, other, index, threads=1).changed == ("stream 1 subtitle subrip deu",)


def test_cues_that_touch_and_that_overlap() -> None:
    def cue(start: int, end: int, text: str) -> Cue:
        return Cue(Fraction(start), Fraction(end), text.encode())

    found = list(alone([cue(0, 9, "a"), cue(1, 3, "b"), cue(2, 3, "c"), cue(9, 10, "d"), cue(12, 13, "e")]))
    assert [(int(c.start), int(c.end), words(c.text).replace("\n", "")) for c in found] == [
        (0, 1, "a"), (1, 2, "ab"), (2, 3, "abc"), (3, 9, "a"), (9, 10, "d"), (12, 13, "e"),
    ]  # fmt: skip
