"""What tests of the farm's outer side share: jobs in a store without films, and a pool that can be shown."""

import time
from pathlib import Path

from doubles import DryPool

from cluster.actors import Place
from cluster.book import Book, Card, Control
from cluster.job import Encoding, JobSpec, Publish, Source, Veil
from cluster.states import JobState


def spec(place: str = "s3://films/in.mp4", target: str = "") -> JobSpec:
    """A plain job; its source needn't be there."""
    encoding = Encoding(None, None, 0, None)
    source = Source(place, 4, "1")
    return JobSpec(source, target, Veil.NOBODY, encoding, None, None, "any", None, "", Publish("film.mp4", False))


def submit(book: Book, name: str = "film.mp4", owner: str = "", team: str = "", **control: object) -> str:
    """A job in the book."""
    now = time.time()
    return book.submit(spec(), Card(name, owner, now, (), team), Control(JobState.QUEUED, "", now, **control))  # type: ignore[arg-type]


class ShownPool(DryPool):
    """A DryPool as a service wants it."""

    drained = frozenset[str]()
    rests = 0

    @property
    def places(self) -> tuple[Place, ...]:
        busy = dict(self._orders)
        return tuple(Place(name, None, self._devices, order=busy.get(name), heard=0.0) for name in self._workers)

    def drain(self, workers: frozenset[str]) -> None:
        self.drained = workers

    def rest(self) -> None:
        self.rests += 1

    def want(self, units: int, on_gpus: int) -> None:
        return

    def close(self) -> None:
        return


def a_film(folder: Path, name: str = "film.mp4") -> Path:
    """A file that DrySteps take for a film."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(b"film")
    return path
