"""What goes into the output beside the pictures."""

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster import config
from pipeline import kept
from pipeline.facts import StreamFacts

INFO: Any = SimpleNamespace(source_stream=0, format="matroska,webm")


def attachment(**tags: str) -> StreamFacts:
    return StreamFacts(3, "attachment", "", "", "", Fraction(1, 1000), 0, tuple(tags.items()))


@pytest.mark.parametrize(
    "mimetype",
    ["font/ttf", "application/x-truetype-font", "application/vnd.ms-opentype", "Application/X-Font-TTF", "font/otf"],
)
def test_fonts_are_kept(mimetype: str) -> None:
    assert kept.is_copied(attachment(filename="a.ttf", mimetype=mimetype), INFO)


@pytest.mark.parametrize(
    "mimetype",
    ["application/octet-stream", "video/mp4", "application/pdf", "application/zip", "IMAGE/JPEG", "image/font", None],
)
def test_any_other_attachment_may_show_a_face(mimetype: str | None) -> None:
    tags = {"filename": "cover.jpg"} | ({"mimetype": mimetype} if mimetype else {})
    assert "face" in kept.why_stripped(attachment(**tags), INFO)
    assert not kept.is_copied(attachment(**tags), INFO)


@pytest.mark.parametrize("key", ["METADATA_BLOCK_PICTURE", "picture", "Artwork", "covr"])
def test_pictures_in_tags_are_left_out(key: str) -> None:
    assert kept.tags([(key, "AAAA"), ("title", "A film")]) == {"title": "A film"}
    assert kept.stripped_tags([(key, "AAAA")]) == (key,)


def test_what_the_command_accepts_can_be_written() -> None:
    for suffix, codecs in config._CONTAINERS.items():
        for codec in codecs:
            assert kept.muxer_for(Path(f"out{suffix}"), codec)
