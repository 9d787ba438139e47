"""The report of a finished job: what went in, what came out, and what was done to every face. docs/report.schema.json
says what each field means. It names no person and holds no secret: identities are public seed ids."""

import importlib.metadata
import json
import platform
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cluster import records
from cluster.edits import Edits
from cluster.job import (
    PER_CHUNK,
    AnalysisFacts,
    IndexFacts,
    JobSpec,
    LinkFacts,
    Plan,
    RenderFacts,
    SourceFacts,
    Step,
    StitchFacts,
    TrackFacts,
)
from cluster.ledger import Ledger, Unit
from cluster.tally import tally
from storage import layout
from storage.objects import NoSuchObject

VERSION = 3
PACKAGES = ("veilfarm", "ray", "torch", "numpy", "av", "onnxruntime", "imageio-ffmpeg")


def build(ledger: Ledger, wall: dict[Step, float], models: Iterable[dict[str, str]], edits: int = 0) -> dict[str, Any]:
    """The report of a job whose steps are all done. `wall`: seconds by step, of this run of the command; steps that an
    earlier run did count the seconds that their workers took. `edits`: the version of reviewers' edits."""
    spec, plan = ledger.spec(), ledger.facts(Plan)
    source, index, film = ledger.facts(SourceFacts), ledger.facts(IndexFacts), ledger.facts(StitchFacts, edits=edits)
    linked = ledger.linked(edits)
    analyses = [ledger.facts(AnalysisFacts, chunk.index) for chunk in plan.chunks]
    rendered = _rendered(ledger, edits)
    return {
        "version": VERSION,
        "job": ledger.job_id,
        "source": {**records.plain(spec.source), **_source(source)},
        "output": {"place": _target(ledger, spec), "bytes": film.bytes, "sha256": film.sha256},
        "settings": {
            **_asked(spec),
            "encoder": rendered[0].encoder,
            "device": spec.device,
        },
        "versions": _versions(),
        "models": list(models),
        "frames": {
            "source": index.frames,
            "first": plan.first,
            "last": plan.last,
            "in": film.frames_in,
            "out": film.frames_out,
            "damaged": sum(each.damaged for each in analyses),
        },
        "pts_equal": film.pts_equal,
        "audio_equal": film.audio_equal,
        "clock_tick": float(film.rounding),
        "streams_lost": list(film.streams_lost),
        "converted": list(film.converted),
        "stripped": list(film.stripped),
        "chunks": _chunks(plan, rendered),
        "people": [{"person": n, "identity": linked.identities.get(str(n))} for n in _people(linked, edits)],
        "tracks": [_track(track) for track in linked.tracks],
        "faces": _faces(rendered),
        "gate": {"covered": sum(each.leaks for each in rendered)},
        "copied": _copied(spec, index, rendered),
        "review": _review(ledger, edits),
        "steps": _steps(ledger, plan, index, wall, edits),
        "work_deleted": False,
    }


def _source(source: SourceFacts) -> dict[str, Any]:
    """The film's facts. What a first look at it guessed served an estimate, and is none."""
    return {name: value for name, value in records.plain(source).items() if name != "survey"}


def _target(ledger: Ledger, spec: JobSpec) -> str:
    return spec.target or layout.output(ledger.job_id, spec.publish.name if spec.publish else "")


def _asked(spec: JobSpec) -> dict[str, Any]:
    """What decides how the output looks."""
    return {
        "veil": spec.veil.value,
        "encoding": records.plain(spec.encoding),
        "from": records.plain(spec.start),
        "to": records.plain(spec.stop),
        "project_key": spec.key_fingerprint,
    }


def is_of(report: dict[str, Any], spec: JobSpec) -> bool:
    """Whether it tells of the same source, as it is now, and of the same options."""
    source, settings = report.get("source", {}), report.get("settings", {})
    wanted = records.plain(spec.source)
    return {k: source.get(k) for k in wanted} == wanted and all(settings.get(k) == v for k, v in _asked(spec).items())


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for name in PACKAGES:
        found[name] = importlib.metadata.version(name)
    return found


def _chunks(plan: Plan, rendered: list[RenderFacts]) -> list[dict[str, Any]]:
    return [
        {"index": c.index, "first": c.start, "last": c.stop, "bytes": r.bytes, "sha256": r.sha256}
        for c, r in zip(plan.chunks, rendered, strict=True)
    ]


def _track(track: TrackFacts) -> dict[str, Any]:
    counts = tally([track.treatments])
    return {
        "id": track.id,
        "person": track.person,
        "first": track.first,
        "last": track.last,
        "frames": track.frames,
        "size": [track.smallest, track.largest],
        "replaced": counts.replaced,
        "covered": track.frames - counts.replaced - counts.kept - counts.no_face,
        "kept_visible": counts.kept,
        "no_face": counts.no_face,
        "why_covered": counts.why_covered,
    }


def _faces(rendered: list[RenderFacts]) -> dict[str, Any]:
    counts = tally(each.treated for each in rendered)
    failures: Counter[str] = Counter()
    for each in rendered:
        failures.update(each.failures)
    return {
        "replaced": counts.replaced,
        "covered": counts.covered,
        "kept_visible": counts.kept,
        "no_face": counts.no_face,
        "why_covered": counts.why_covered,
        "failures": dict(sorted(failures.items())),
    }


def _copied(spec: JobSpec, index: IndexFacts, rendered: list[RenderFacts]) -> dict[str, Any]:
    """What kept the source's bits, and what was seen in each group of pictures."""
    kept = [group for each in rendered for group in each.copied]
    return {
        "asked": spec.encoding.copy_clean,
        "why_none": index.uncopied,
        "frames": sum(group.last - group.first for group in kept),
        "bytes": sum(group.bytes for group in kept),
        "groups": [
            {
                "first": group.first,
                "last": group.last,
                "time": round(float(group.time), 6),
                "bytes": group.bytes,
                "copied": not group.why,
                "why": group.why,
                "score": group.score,
                "gate": group.gate,
            }
            for each in rendered
            for group in each.groups
        ],
    }


def _rendered(ledger: Ledger, edits: int) -> list[RenderFacts]:
    """Of each chunk. Raises NoSuchObject."""
    found = []
    for unit in ledger.units_of(Step.RENDER, edits):
        done = ledger.done(unit)
        if done is None or not isinstance(done.facts, RenderFacts):
            raise NoSuchObject(f"{unit} isn't done")
        found.append(done.facts)
    return found


def _people(linked: LinkFacts, edits: int) -> list[int]:
    """Their numbers: after edits, there are gaps."""
    return sorted({track.person for track in linked.tracks}) if edits else list(range(linked.people))


def _review(ledger: Ledger, edits: int) -> dict[str, Any]:
    """Who changed what, and who approved it."""
    held = Edits(ledger)
    latest = held.latest()
    approved = latest.approved is not None
    return {
        "edits": [records.plain(edit) for edit in held.at(edits).edits],
        "approved_by": latest.who if approved else None,
        "approved_at": latest.at if approved else None,
    }


def _steps(ledger: Ledger, plan: Plan, index: IndexFacts, wall: dict[Step, float], edits: int) -> dict[str, Any]:
    found = {}
    for step in Step:
        if step is Step.PUBLISH or (step is Step.MEND and not edits):  # is under way, or somebody else's
            continue
        units = list(ledger.units_of(step, edits)) if step in PER_CHUNK else [ledger.unit(step, None, edits)]
        worker = sum(done.seconds for unit in units if (done := ledger.done(unit)))
        frames = index.frames if step is Step.INDEX else plan.frames if step in PER_CHUNK else None
        seconds = wall.get(step) or worker
        fps = round(frames / seconds, 2) if frames and seconds else None
        facts = {"seconds": round(seconds, 3), "worker_seconds": round(worker, 3), "frames": frames, "fps": fps}
        found[step.value] = facts | {"stages": _stages(ledger, units)}
    return found


def _stages(ledger: Ledger, units: list[Unit]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for unit in units:
        done = ledger.done(unit)
        if done is not None and isinstance(done.facts, AnalysisFacts | RenderFacts):
            total.update({name: round(seconds, 3) for name, seconds in done.facts.stages.items()})
    return {name: round(seconds, 3) for name, seconds in total.items()}


def write(report: dict[str, Any], path: Path) -> None:
    """Raises OSError. Never leaves half a file."""
    temp = path.with_name(f".{path.name}.part")
    try:
        temp.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        temp.replace(path)
    finally:
        temp.unlink(missing_ok=True)


def read(path: Path) -> dict[str, Any] | None:
    """A report that an earlier run wrote; None where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("version") == VERSION else None


def line(report: dict[str, Any]) -> str:
    """What a person wants to know first."""
    faces, frames, people = report["faces"], report["frames"]["out"], len(report["people"])
    if not report["tracks"]:
        return f"{report['output']['place']}: {frames} frames, no face was found{_kept_bits(report)}"
    who = "1 person" if people == 1 else f"{people} people"
    what = f"{faces['replaced']} faces replaced, {faces['covered']} covered"
    if faces.get("kept_visible"):
        what += f", {faces['kept_visible']} left visible by a reviewer"
    return f"{report['output']['place']}: {frames} frames, {who}, {what}{_kept_bits(report)}"


def _kept_bits(report: dict[str, Any]) -> str:
    told = report.get("copied", {})
    if not told.get("asked"):
        return ""
    return f"; none copied: {told['why_none']}" if told["why_none"] else f"; {told['frames']} frames copied"
