"""One face as a picture: as it is in the source, and as it was rendered. Decoded in another process, see `apart`."""

from pathlib import Path

from cluster.apart import Apart
from cluster.job import ChunkRecord, RenderFacts, SourceFacts, Step, TrackFacts
from cluster.ledger import Ledger, Unit
from storage.objects import NoSuchObject

_APART = Apart()


def before(ledger: Ledger, source: Path, track: TrackFacts) -> bytes:
    """JPEG of the original. `source`: the film, on this machine. Raises NoSuchObject, PipelineError, Busy."""
    folders = {"film": str(ledger.folder(Unit(Step.INGEST))), "index": str(ledger.folder(Unit(Step.INDEX)))}
    return _APART.ask(**folders, source=str(source), number=track.best, box=track.best_box)


def after(ledger: Ledger, chunk: ChunkRecord, unit: Unit, track: TrackFacts) -> bytes:
    """JPEG of the same place as it was rendered. Raises NoSuchObject when it isn't, PipelineError, Busy."""
    done = ledger.done(unit)
    if done is None or not isinstance(done.facts, RenderFacts):
        raise NoSuchObject(f"{unit} isn't done")
    rotation = ledger.facts(SourceFacts).rotation
    segment = ledger.folder(unit) / done.facts.segment
    number = track.best - chunk.start
    return _APART.ask(segment=str(segment), number=number, box=track.best_box, rotation=rotation)
