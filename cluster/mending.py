"""The step that applies reviewers' edits, as calls into the pipeline: see `steps`."""

import json
from pathlib import Path
from typing import Any

from cluster import copying
from cluster.job import MendFacts, Plan
from cluster.linked import link_facts
from cluster.workers import Setup, Tick
from pipeline import device
from pipeline.edits import Edit, turned

_FACES = "faces.json"  # what edits have drawn: secret, as seeds are


def mend(
    setup: Setup,
    plan: Plan,
    chunks: list[Any],
    film: tuple[Any, Any],
    model: Any,
    analyses: tuple[Path, ...],
    linked: Path,
    edits: tuple[Edit, ...],
    before: Path | None,
    into: Path,
    tick: Tick,
) -> MendFacts:
    """See Steps. `film`: its VideoInfo and FrameIndex."""
    from pipeline.analysis import ChunkAnalysis
    from pipeline.box import follow_box
    from pipeline.choose import choose
    from pipeline.link import Linked
    from pipeline.mend import Artist, changed, film_edition
    from pipeline.mend import mend as mended

    device.limit_threads(1)  # as for linking
    info, index = film
    lost = dict[str, int]()

    def follow(edit: Edit) -> tuple[Any, Any]:
        assert edit.box is not None
        assert edit.frame is not None
        layout = info.layout
        box = turned(edit.box, layout.width, layout.height, layout.rotation)
        found = follow_box(info, index, edit.frame, box, (plan.first, plan.last), threads=setup.threads, progress=tick)
        lost[str(edit.made)] = found.sure
        return found.frames, found.boxes

    base = Linked.load(linked / "linked.npz")
    artist = Artist(model, setup.secret, choose, setup.spec.key_fingerprint is not None)
    looked = [ChunkAnalysis.load(folder, meshes=False) for folder in analyses]
    result = mended(base, edits, looked, artist, follow, _known(before))
    result.linked.save(into / "linked.npz")
    faces = {name: [face.seed.key.hex() if face.seed else None, face.bare] for name, face in result.faces.items()}
    (into / _FACES).write_text(json.dumps(faces), encoding="utf-8")
    marks = None
    if setup.spec.encoding.copy_clean:
        copying.judge(setup, plan, looked, result.linked, into)
        marks = copying.marks(linked, into, plan.chunks)
    renders = changed(base, result.linked, chunks, marks)
    return MendFacts(
        link_facts(result.linked, looked),
        {str(chunk): edition for chunk, edition in renders.items()},
        film_edition(renders),
        lost,
    )


def _known(before: Path | None) -> dict[str, Any]:
    from pipeline.identity import Seed
    from pipeline.mend import Face

    if before is None:
        return {}
    found = json.loads((before / _FACES).read_text(encoding="utf-8"))
    return {name: Face(None if key is None else Seed(bytes.fromhex(key)), bare) for name, (key, bare) in found.items()}
