"""What an edit doesn't reach would be rendered bit for bit as before, so that it needn't be."""

from fractions import Fraction
from pathlib import Path

import pytest
from facefilm import CPU, SIDE, Seen, by_key, make, see

from pipeline import identity
from pipeline.analyse import Eyes
from pipeline.checked import render_checked
from pipeline.edits import Edit, Kind
from pipeline.encode import EncoderSettings
from pipeline.link import Linked
from pipeline.mend import Artist, changed, mend
from pipeline.models.blazeface import BlazeFace

FRAMES, GONE, BACK = 100, 40, 80


def faces(number: int) -> list[tuple[int, int, int]]:
    """Somebody on the left, nobody, somebody on the right."""
    if number < GONE:
        return [(4, 50, SIDE)]
    return [(160, 50, SIDE)] if number >= BACK else []


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder = tmp_path_factory.mktemp("film")
    film = make(folder / "film.mp4", FRAMES, faces)
    found = see(film, folder / "work", Eyes.load(CPU, 1), target=Fraction(34, 25))
    assert len(found.chunks) == 3
    assert len(found.linked.tracks) == 2
    return found


def test_an_untouched_chunk_would_come_out_the_same(seen: Seen, tmp_path: Path) -> None:
    edits = [Edit("E", Kind.NO_FACE, "kim", 0.0, track=1)]
    artist = Artist(identity.load(), b"secret", by_key)
    after = mend(seen.linked, edits, seen.analyses, artist, lambda _: pytest.fail("there is no box")).linked
    touched = set(changed(seen.linked, after, seen.chunks))
    assert 0 not in touched
    assert 2 in touched

    def rendered(number: int, linked: Linked) -> str:
        segment, _, _ = render_checked(
            seen.info, seen.index, seen.chunks[number], seen.analyses[number], linked, identity.load(),
            EncoderSettings.for_source(seen.info), tmp_path / "0.nut", detector=BlazeFace(CPU), device=CPU,
        )  # fmt: skip
        return segment.sha256

    assert rendered(0, seen.linked) == rendered(0, after)
    assert rendered(2, seen.linked) != rendered(2, after)
