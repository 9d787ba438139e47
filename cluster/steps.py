"""The steps of a job as calls into the pipeline. The farm's only file that knows the pipeline's types.

Networks are imported and loaded where they are used, once per process: the command itself never loads one.
"""

import dataclasses
import functools
import hashlib
import logging
from pathlib import Path
from typing import Any

from cluster import copying, folders, planning, records
from cluster.job import (
    AnalysisFacts,
    ChunkRecord,
    Encoding,
    IndexFacts,
    JobSpec,
    LinkFacts,
    MendFacts,
    Moment,
    Plan,
    RenderFacts,
    SourceFacts,
    StitchFacts,
    StreamRecord,
    SurveyFacts,
    Veil,
)
from cluster.linked import link_facts
from cluster.places import check_unchanged
from cluster.workers import Setup, Tick
from pipeline import device
from pipeline.edits import Edit
from pipeline.errors import InputError, VerifyError

_LOG = logging.getLogger(__name__)

_HERE = Path(".")  # in a record: where the source is on the machine that reads it


class PipelineSteps:
    """Steps, as `workers` declares them. Holds nothing when it is sent to a worker."""

    _prepared: tuple[str, int] | None = None  # device and threads, in a worker of its own

    def prepare(self, device_name: str, threads: int) -> None:
        """Import and load what the first chunk needs, while the film is still being indexed."""
        self._prepared = device_name, threads
        device.limit_threads(threads)
        _eyes(device_name, threads)
        import pipeline.checked  # noqa: F401

    def ingest(self, spec: JobSpec, source: Path, into: Path) -> SourceFacts:
        """See Steps."""
        from pipeline import dynamic, video
        from pipeline.stills import finish

        info = video.ingest(source, into)
        dynamic.check(info, spec.encoding.drop_dynamic_hdr)
        encoder_settings(info, spec.encoding, spec.suffix)  # which refuses what can't be encoded
        finish.check_target(info, into, spec.suffix)
        # Another machine may have the source elsewhere: `_info` fills in where it is there.
        path = info.path.relative_to(into) if info.path.is_relative_to(into) else _HERE
        (into / "info.json").write_bytes(records.dumps(dataclasses.replace(info, source=_HERE, path=path)))
        sha256 = folders.sha256(source)
        layout = info.layout
        return SourceFacts(
            sha256=sha256,
            container=info.format,
            codec=info.codec,
            pix_fmt=info.source_pix_fmt,
            width=layout.width,
            height=layout.height,
            rotation=layout.rotation,
            frame_rate=info.average_rate,
            streams=tuple(StreamRecord(s.index, s.kind, s.codec, s.language) for s in info.streams),
            survey=self._survey(info) if spec.publish is not None else None,
        )

    def _survey(self, info: Any) -> SurveyFacts | None:
        """Where networks are loaded anyway. Whatever hinders it, only an estimate is worse for that."""
        if self._prepared is None:
            return None
        from pipeline.survey import survey

        name, threads = self._prepared
        try:
            found = survey(info, _eyes(name, threads).detector, threads=threads)
        except Exception as error:  # noqa: BLE001  the film's own steps will say what is wrong with it
            _LOG.warning("no survey: %s", error)
            return None
        return SurveyFacts(found.frames, found.looked, found.sides)

    def index(self, setup: Setup, into: Path, tick: Tick) -> IndexFacts:
        """See Steps."""
        from pipeline import dynamic, video

        info, spec = film_info(setup.film, setup.source), setup.spec
        index = video.index(info, tick, setup.threads)
        info = dynamic.with_late(info, index)
        dynamic.check(info, spec.encoding.drop_dynamic_hdr)
        index.save(into / "index.npz")
        facts = IndexFacts(len(index), index.seconds(), len(index.cuts) + 1, index.damaged)
        if not spec.encoding.copy_clean:
            return facts
        why = copying.find(info, index, encoder_settings(info, spec.encoding, spec.suffix), into)
        return dataclasses.replace(facts, uncopied=why)

    def plan(self, setup: Setup, sharers: int) -> Plan:
        """See Steps. Raises InputError when no frame lies in the range."""
        info, index = film_info(setup.film, setup.source), frame_index(setup.index)
        first, last = film_range(index, setup.spec.start, setup.spec.stop)
        chunks = planning.chunks(setup, info, index, first, last, sharers)
        return Plan(first, last, tuple(ChunkRecord(*dataclasses.astuple(each)) for each in chunks))

    def analyse(self, setup: Setup, chunk: ChunkRecord, into: Path, tick: Tick) -> AnalysisFacts:
        """See Steps."""
        from pipeline import analyse

        device.limit_threads(setup.threads)
        found = analyse.analyse(
            film_info(setup.film, setup.source),
            frame_index(setup.index),
            _chunk(chunk),
            device=device.named(setup.device),
            threads=setup.threads,
            progress=_adding(tick),
            eyes=_eyes(setup.device, setup.threads),
            lean=setup.lean,
        )
        found.save(into)
        faces = sum(len(tracklet.frames) for tracklet in found.tracklets)
        return AnalysisFacts(len(found.tracklets), len(found.damaged), found.seconds, faces)

    def link(self, setup: Setup, plan: Plan, analyses: tuple[Path, ...], into: Path) -> LinkFacts:
        """See Steps."""
        from pipeline import link
        from pipeline.analyse import ChunkAnalysis
        from pipeline.choose import choose

        # Thousands of small operations: a second thread makes them slower, and takes three times the processor time.
        device.limit_threads(1)
        loaded = [ChunkAnalysis.load(folder, meshes=False) for folder in analyses]
        linked = link.link(
            loaded,
            frame_index(setup.index),
            veil=setup.spec.veil.value,
            secret=setup.secret,
            model=_model(),
            steady=setup.spec.key_fingerprint is not None,
            choose=choose,
        )
        linked.save(into / "linked.npz")
        if setup.spec.encoding.copy_clean:
            copying.judge(setup, plan, loaded, linked, into)
        return link_facts(linked, loaded)

    def mend(
        self,
        setup: Setup,
        plan: Plan,
        analyses: tuple[Path, ...],
        linked: Path,
        edits: tuple[Edit, ...],
        before: Path | None,
        into: Path,
        tick: Tick,
    ) -> MendFacts:
        """See Steps."""
        from cluster import mending

        info, index = film_info(setup.film, setup.source), frame_index(setup.index)
        chunks = [_chunk(chunk) for chunk in plan.chunks]
        return mending.mend(
            setup, plan, chunks, (info, index), _model(), analyses, linked, edits, before, into, _adding(tick)
        )

    def render(
        self, setup: Setup, chunk: ChunkRecord, analysis: Path, linked: Path, into: Path, tick: Tick
    ) -> RenderFacts:
        """See Steps. The segment was decoded again, and the leak gate has passed it. Raises VerifyError, LeakError
        otherwise."""
        from pipeline.analyse import ChunkAnalysis
        from pipeline.checked import render_checked
        from pipeline.link import Linked

        device.limit_threads(setup.threads)
        info, index = film_info(setup.film, setup.source), frame_index(setup.index)
        settings, copies = encoder_settings(info, setup.spec.encoding, setup.spec.suffix), None
        if setup.spec.encoding.copy_clean:
            copies, settings = copying.copies(setup, chunk, linked, settings)
        segment, counts, leaks = render_checked(
            info,
            index,
            _chunk(chunk),
            ChunkAnalysis.load(analysis, meshes=True),
            Linked.load(linked / "linked.npz"),
            _model(),
            settings,
            into / "segment.nut",
            detector=_gate(setup.device, setup.threads),
            style="solid" if setup.spec.veil is Veil.SOLID else "mosaic",
            device=device.named(setup.device),
            threads=setup.threads,
            progress=_adding(tick),
            within=film_range(index, setup.spec.start, setup.spec.stop),
            mesher=_eyes(setup.device, setup.threads).mesher,
            lean=setup.lean,
            copies=copies,
        )
        return RenderFacts(
            segment=segment.path.name,
            frames=segment.frames,
            first_pts=segment.first_pts,
            last_pts=segment.last_pts,
            sha256=segment.sha256,
            bytes=segment.bytes,
            delay=segment.delay,
            encoder=f"{settings.codec} {settings.pix_fmt} CRF {settings.crf} {settings.preset}",
            treated={name.lower(): count for name, count in counts.treated.items()},
            failures=counts.failures,
            leaks=len(leaks),
            stages=counts.seconds,
            groups=copying.kept(copies, index, into) if copies is not None else (),
        )

    def stitch(
        self, setup: Setup, plan: Plan, segments: tuple[tuple[Path, RenderFacts], ...], into: Path
    ) -> StitchFacts:
        """See Steps. Raises VerifyError when it isn't the source's film, frame for frame, or the source has changed."""
        from pipeline import stitch
        from pipeline.compare import compare
        from pipeline.encode import Segment
        from pipeline.stills import finish

        info, index, spec = film_info(setup.film, setup.source), frame_index(setup.index), setup.spec
        parts = [
            Segment(path, number, f.frames, f.first_pts, f.last_pts, f.sha256, f.bytes, f.delay)
            for number, (path, f) in enumerate(segments)
        ]
        for part in parts:
            _check_segment(part.path, part.chunk, part.sha256)
        if info.pictures and not finish.to_film(spec.suffix):
            film, found = finish.write(info, index, parts, into, spec.suffix, plan.first, plan.last)
        else:
            film, whole = into / f"film{spec.suffix}", finish.as_film(info)
            proof = copying.proof(info, plan, segments)
            stitch.stitch(
                whole,
                index,
                parts,
                film,
                first=plan.first,
                last=plan.last,
                convert_audio=spec.encoding.convert_audio,
                convert_subtitles=spec.encoding.convert_subtitles,
                spliced=proof is not None,
            ).rename(film)
            look = proof.look if proof is not None else None
            found = compare(whole, film, index, plan.first, plan.last, setup.threads, look)
            if proof is not None:
                proof.check()
        check_unchanged(spec.source)
        if not found.pts_equal:
            raise VerifyError(
                f"the film of {spec.source.name} has other frame times than its source", "", "report this film"
            )
        if found.damaged_out:
            why = f"{found.damaged_out} frames are damaged"
            raise VerifyError("the output does not decode without fault", why, "report this film")
        if found.sound_changed:  # sound that the container can't hold is told as lost
            raise VerifyError(f"the film of {spec.source.name} has other sound than its source", "", "report this film")
        if found.changed:
            why = f"{', '.join(found.changed)}: other contents or times"
            raise VerifyError(f"the film of {spec.source.name} is not its source beside the pictures", why, "report it")
        return StitchFacts(
            film=film.name,
            sha256=folders.sha256(film),
            bytes=film.stat().st_size,
            frames_in=found.frames_in,
            frames_out=found.frames_out,
            pts_equal=found.pts_equal,
            audio_equal=found.audio_equal,
            rounding=found.rounding,
            streams_lost=found.streams_lost,
            stripped=finish.stripped(info) if info.pictures else found.stripped,
            converted=found.converted,
        )


def _check_segment(path: Path, number: int, sha256: str) -> None:
    """Raises VerifyError when its bytes aren't those that the leak gate has passed."""
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        why = error.strerror or ""
        raise VerifyError(f"segment {number} can't be read", why, "run again without --resume") from error
    if found != sha256:
        why = "its bytes are not those that were checked"
        raise VerifyError(f"segment {number} has changed", why, "run again without --resume")


def encoder_settings(info: Any, wanted: Encoding, suffix: str) -> Any:
    """The encoder's settings for this source; the same for all of its chunks. Pictures that become pictures are encoded
    without loss, and those that become a film as players know it. What is to be copied decides the codec."""
    from pipeline.encode import EncoderSettings
    from pipeline.stills import finish

    if info.pictures and not finish.to_film(suffix):
        return EncoderSettings.for_source(info, "h264", 0, "ultrafast")
    codec = wanted.codec or (info.codec if wanted.copy_clean and info.codec in ("h264", "hevc") else None)
    settings = EncoderSettings.for_source(info, codec, wanted.crf, wanted.preset)  # type: ignore[arg-type]
    settings = dataclasses.replace(settings, crf=settings.crf + wanted.crf_offset)
    even = info.pictures and not (info.layout.width % 2 or info.layout.height % 2)
    return dataclasses.replace(settings, pix_fmt="yuv420p") if even else settings


def _adding(tick: Tick) -> Tick:
    """The pipeline tells how many frames it has just done; the farm wants their sum."""
    total = 0

    def add(frames: int) -> None:
        nonlocal total
        total += frames
        tick(total)

    return add


def _chunk(record: ChunkRecord) -> Any:
    from pipeline.chunk import Chunk

    return Chunk(*dataclasses.astuple(record))


def film_range(index: Any, start: Moment | None, stop: Moment | None) -> tuple[int, int]:
    """Frames [first, last) that a part has. Raises InputError when there is none."""
    from pipeline.chunk import frame_range

    first, last = frame_range(index, start.seconds if start else None, stop.seconds if stop else None)
    if start is not None and start.frame is not None:
        first = start.frame
    if stop is not None and stop.frame is not None:
        last = min(stop.frame, last)
    if first >= last:
        why = f"the film has {len(index)} frames, and the range is [{first}, {last})"
        raise InputError("no frame lies between --from and --to", why, "give a range inside the film")
    return first, last


@functools.lru_cache(maxsize=4)
def film_info(film: Path, source: Path) -> Any:
    """The VideoInfo that INGEST left in the folder `film`, for the source where it is on this machine."""
    from pipeline.facts import VideoInfo

    info = records.loads(VideoInfo, (film / "info.json").read_bytes())
    return dataclasses.replace(info, source=source, path=source if info.path == _HERE else film / info.path)


@functools.lru_cache(maxsize=4)
def frame_index(folder: Path) -> Any:
    """The FrameIndex that INDEX left."""
    from pipeline.facts import FrameIndex

    return FrameIndex.load(folder / "index.npz")


@functools.lru_cache(maxsize=1)
def _eyes(name: str, threads: int) -> Any:
    from pipeline.analyse import Eyes

    return Eyes.load(device.named(name), threads)


@functools.lru_cache(maxsize=1)
def _gate(name: str, threads: int) -> Any:
    """A detector that `analyse` doesn't use."""
    from pipeline.models.blazeface import BlazeFace

    return BlazeFace(device.named(name), threads=threads)


@functools.lru_cache(maxsize=1)
def _model() -> Any:
    from pipeline import identity

    return identity.load()
