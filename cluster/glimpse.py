"""One face as a picture: as it is in the source, and as it was rendered. Calls into the pipeline, as in `steps`."""

from pathlib import Path

from cluster.job import ChunkRecord, RenderFacts, SourceFacts, Step, TrackFacts
from cluster.ledger import Ledger, Unit
from cluster.steps import film_info, frame_index
from storage.objects import NoSuchObject

THREADS = 2


def before(ledger: Ledger, source: Path, track: TrackFacts) -> bytes:
    """JPEG of the original. `source`: the film, on this machine. Raises NoSuchObject, PipelineError."""
    from pipeline import snapshot

    info = film_info(ledger.folder(Unit(Step.INGEST)), source)
    index = frame_index(ledger.folder(Unit(Step.INDEX)))
    return snapshot.from_film(info, index, track.best, track.best_box, THREADS)


def after(ledger: Ledger, chunk: ChunkRecord, unit: Unit, track: TrackFacts) -> bytes:
    """JPEG of the same place as it was rendered. Raises NoSuchObject when it isn't, PipelineError."""
    from pipeline import snapshot

    done = ledger.done(unit)
    if done is None or not isinstance(done.facts, RenderFacts):
        raise NoSuchObject(f"{unit} isn't done")
    rotation = ledger.facts(SourceFacts).rotation
    segment = ledger.folder(unit) / done.facts.segment
    return snapshot.from_segment(segment, track.best - chunk.start, track.best_box, rotation, THREADS)
