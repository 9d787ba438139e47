"""The farm's steps with `copy_clean`, called one after the other as workers call them."""

from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
import pytest
from facefilm import passing

from cluster import copying
from cluster.job import (
    ChunkRecord,
    Encoding,
    IndexFacts,
    JobSpec,
    LinkFacts,
    MendFacts,
    Plan,
    RenderFacts,
    Veil,
    source_of,
)
from cluster.steps import PipelineSteps
from cluster.workers import Setup
from pipeline.chunk import Chunk
from pipeline.copying.copies import decoded_digest
from pipeline.edits import Edit, Kind
from pipeline.errors import VerifyError
from pipeline.facts import VideoInfo
from pipeline.link import Linked
from pipeline.mend import changed
from pipeline.video import ingest

FRAMES, GOP, SHOWN = 160, 8, range(72, 84)


def nothing(_: int) -> None:
    """Of the progress."""


@dataclass
class Job:
    """A film, as far as its linking."""

    setup: Setup
    folder: Path
    indexed: IndexFacts
    plan: Plan
    linked: LinkFacts
    steps: PipelineSteps

    def path(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir(exist_ok=True)
        return path

    @property
    def analyses(self) -> tuple[Path, ...]:
        return tuple(self.path(f"analyse{chunk.index}") for chunk in self.plan.chunks)

    def render(self, chunk: ChunkRecord, linked: str = "link", name: str = "") -> tuple[Path, RenderFacts]:
        into = self.path(f"render{chunk.index}{name}")
        made = self.steps.render(
            self.setup, chunk, self.path(f"analyse{chunk.index}"), self.path(linked), into, nothing
        )
        return into / made.segment, made

    def mend(self, name: str, *edits: Edit) -> MendFacts:
        into = self.path(name)
        return self.steps.mend(self.setup, self.plan, self.analyses, self.path("link"), edits, None, into, nothing)


def job(source: Path, folder: Path, encoding: Encoding) -> Job:
    spec = JobSpec(source_of(source), str(folder / "o.mp4"), Veil.NOBODY, encoding, None, None, "cpu", None)
    steps, film, indexed = PipelineSteps(), folder / "ingest", folder / "index"
    for name in ("ingest", "index", "link"):
        (folder / name).mkdir(parents=True)
    steps.ingest(spec, source, film)
    setup = Setup(spec, source, film, indexed, "cpu", 1, b"s" * 32, chunk_frames=4 * GOP)
    facts = steps.index(setup, indexed, nothing)
    plan = steps.plan(setup, 1)
    made = Job(setup, folder, facts, plan, LinkFacts(0, {}, ()), steps)
    for chunk, into in zip(plan.chunks, made.analyses, strict=True):
        steps.analyse(setup, chunk, into, nothing)
    made.linked = steps.link(setup, plan, made.analyses, made.path("link"))
    return made


CLEAN = Encoding(None, 20, 0, "ultrafast", copy_clean=True)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("job")
    return job(passing(folder / "film.mp4", SHOWN, FRAMES, GOP), folder / "work", CLEAN)


def hashes(path: Path, info: VideoInfo) -> list[bytes]:
    with av.open(str(path)) as container:
        return [decoded_digest(frame, info) for frame in container.decode(video=0)]


def test_from_chunks_to_the_film(clean: Job, tmp_path: Path) -> None:
    assert clean.indexed.uncopied == ""
    assert [chunk.start for chunk in clean.plan.chunks] == [0, 32, 64, 96, 128]
    parts = tuple(clean.render(chunk) for chunk in clean.plan.chunks)
    groups = [group for _, facts in parts for group in facts.groups]
    assert [(g.first, g.last) for g in groups] == [(k, k + GOP) for k in range(0, FRAMES, GOP)]
    assert [float(g.time) for g in groups] == [k / 25 for k in range(0, FRAMES, GOP)]
    whys = [g.why for g in groups]
    assert whys[9:11] == ["face", "face"]
    assert whys[:4] == whys[-4:] == [""] * 4
    made = clean.steps.stitch(clean.setup, clean.plan, parts, tmp_path)
    info = ingest(clean.setup.source, tmp_path)
    before, after = hashes(clean.setup.source, info), hashes(tmp_path / made.film, info)
    same = {k for k in range(FRAMES) if before[k] == after[k]}
    assert same == {k for _, facts in parts for group in facts.copied for k in range(group.first, group.last)}
    assert not same & set(SHOWN)


def test_a_film_whose_copies_decode_otherwise_is_refused(clean: Job, tmp_path: Path) -> None:
    parts = [clean.render(chunk) for chunk in clean.plan.chunks]
    proof = parts[0][0].with_name("proof.npz")
    kept = proof.read_bytes()
    with np.load(proof) as file:
        frames, digests = file["frames"], file["digests"].copy()
    digests[3, 0] ^= 1
    with proof.open("wb") as out:
        np.savez(out, frames=frames, digests=digests)
    try:
        with pytest.raises(VerifyError, match=r"1 copied frames are not the source's.*frame 3.*without --copy-clean"):
            clean.steps.stitch(clean.setup, clean.plan, tuple(parts), tmp_path)
    finally:
        proof.write_bytes(kept)


def test_a_box_that_a_reviewer_draws_takes_its_groups_out(clean: Job) -> None:
    before = {g.first for g in clean.render(clean.plan.chunks[0])[1].copied}
    assert 0 in before
    box = Edit("one", Kind.BOX, "kim", 0.0, frame=4, box=(20.0, 20.0, 90.0, 90.0), made=50)
    mended = clean.mend("mended", box)
    assert "0" in mended.renders
    assert "4" not in mended.renders, "a chunk far from it stays as it was"
    _, facts = clean.render(clean.plan.chunks[0], "mended", "again")
    whys = [group.why for group in facts.groups]
    assert whys[0] == "face"
    assert whys[1] != ""
    assert facts.treated["cover_chosen"] > 0
    assert clean.mend("unmended").renders == {}


def test_a_chunk_of_which_other_groups_are_copied_is_another(clean: Job, tmp_path: Path) -> None:
    chunk = Chunk(2, 64, 96, 0, 1, "")
    none = Linked((), ())
    assert changed(none, none, [chunk]) == changed(none, none, [chunk], {2: ("64-72", "64-72")}) == {}
    one, two = (changed(none, none, [chunk], {2: ("64-72 72-80", now)}) for now in ("72-80", ""))
    assert one.keys() == two.keys() == {2}
    assert one != two
    marks = copying.marks(clean.path("link"), clean.path("link"), clean.plan.chunks)
    assert marks.keys() == {0, 1, 2, 3, 4}
    assert marks[0][0] == marks[0][1]
    assert marks[0][0].startswith("0-8 8-16")


@pytest.mark.parametrize("codec", ["av1", "hevc"])
def test_where_nothing_can_be_copied_everything_is_rendered_and_it_says_why(
    clean: Job, codec: str, tmp_path: Path
) -> None:
    asked = replace(CLEAN, codec=codec)
    made = job(clean.setup.source, tmp_path / "work", asked)
    assert made.indexed.uncopied == f"its codec is h264, and the output's {codec}"
    _, facts = made.render(made.plan.chunks[0])
    assert facts.groups == ()
    assert not (made.path("render0") / "proof.npz").exists()


def test_hevc_stays_hevc_where_it_is_to_be_copied(tmp_path: Path) -> None:
    source = passing(tmp_path / "film.mp4", range(0), 24, GOP, "libx265")
    made = job(source, tmp_path / "work", CLEAN)
    parts = tuple(made.render(chunk) for chunk in made.plan.chunks)
    assert sum(group.last - group.first for _, facts in parts for group in facts.copied) == 24
    film = made.path("out") / made.steps.stitch(made.setup, made.plan, parts, made.path("out")).film
    info = ingest(source, tmp_path / "again")
    assert hashes(film, info) == hashes(source, info)
    with av.open(str(film)) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hev1"
