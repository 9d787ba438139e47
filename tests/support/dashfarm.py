"""A dashboard over a store in memory with jobs in all states, and browsers that look at it."""

import dataclasses
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from apiclient import Api
from apifarm import spec

from cluster import records
from cluster.account import FarmStatus, Progress, WorkerStatus
from cluster.api.server import Server
from cluster.book import Card, Control, Entry, JobResult
from cluster.dashboard.mount import mount
from cluster.job import (
    AnalysisFacts,
    ChunkRecord,
    Facts,
    Failure,
    IndexFacts,
    LinkFacts,
    Plan,
    RenderFacts,
    SourceFacts,
    Step,
    StitchFacts,
    TrackFacts,
    Veil,
    new_id,
    source_of,
)
from cluster.jobindex import Row
from cluster.ledger import Ledger, Unit
from cluster.states import JobState
from cluster.users import Role
from pipeline.facts import FrameIndex
from storage import layout

FRAMES, CHUNKS = 250, 64
WORKERS = ("render-1", "render-2", "render-3", "gpu-1")


class Dash(Api):
    """The API with its pages, on a port of its own."""

    def __init__(self, place: Path, serve: bool = True, port: int = 0, **options: Any) -> None:
        super().__init__(place, **options)
        mount(self.app)
        if not serve:
            return
        self.server = Server("127.0.0.1", port)
        self.server.start(self.app)
        self.url = self.server.url

    def token(self, name: str, role: Role = Role.SUBMITTER, team: str = "") -> str:
        """Of a new user."""
        self.users.add(name, role, team)
        return self.users.issue(name)[0]

    def job(
        self,
        name: str,
        state: JobState,
        owner: str = "kim",
        team: str = "news",
        age: float = 60.0,
        source: Path | None = None,
        veil: Veil = Veil.NOBODY,
        **fields: Any,
    ) -> str:
        """One without anything inside."""
        now = time.time()
        control = Control(JobState.QUEUED, "", now - age)
        wanted = dataclasses.replace(spec(f"s3://films/in/{name}"), veil=veil)
        if source is not None:
            wanted = dataclasses.replace(wanted, source=source_of(source))
        job = self.book.submit(wanted, Card(name, owner, now - age, (), team), control)
        since = now - age / 2
        self.index.put(job, self.book.card(job), self.book.control(job))
        if state is not JobState.QUEUED or fields:
            _, etag = self.store.read_versioned(layout.control(job))
            after = dataclasses.replace(control, state=state, since=since, revision=1, **fields)
            self.store.replace(layout.control(job), records.dumps(after), etag)
            self.index.put(job, self.book.card(job), after)
        return job


@contextmanager
def dashboard(place: Path, **options: Any) -> Iterator[Dash]:
    """Until the test is over."""
    dash = Dash(place, **options)
    try:
        yield dash
    finally:
        dash.context.stopping.set()
        dash.server.close()


def inside(dash: Dash, job: str, analysed: int, rendered: int, linked: bool) -> Ledger:
    """What a job has reached, as a farm would have written it."""
    ledger = Ledger(dash.store, job)
    chunks = tuple(
        ChunkRecord(i, i * FRAMES, (i + 1) * FRAMES, i * FRAMES * 40, (i + 1) * FRAMES * 40, "") for i in range(CHUNKS)
    )
    frames = FRAMES * CHUNKS
    commit(ledger, Unit(Step.INGEST), SourceFacts("a" * 64, "mov", "h264", "yuv420p", 1920, 1080, 0, Fraction(25), ()))
    commit(ledger, Unit(Step.INDEX), IndexFacts(frames, Fraction(frames, 25), 41, 0))
    commit(ledger, Unit(Step.PLAN), Plan(0, frames, chunks))
    for i in range(analysed):
        commit(ledger, Unit(Step.ANALYSE, i), AnalysisFacts(3, 0, {"detect": 8.5}), 11.5 + i % 5, WORKERS[i % 4])
        line = f'{{"level": "INFO", "text": "chunk {i}: 250 frames, {2 + i % 3} faces followed"}}\n'
        ledger.keep_log(Unit(Step.ANALYSE, i), new_id(), line.encode())
    if linked:
        commit(ledger, Unit(Step.LINK), people(frames), 1.2)
    for i in range(rendered):
        treated = {"replace": 400 + i, "cover_small": i % 3}
        failures = {"ModelError": 2} if i == 9 else {}
        facts = RenderFacts("s.nut", FRAMES, 0, 1, "b" * 64, 9, 0, "h264", treated, failures, int(i == 4), {})
        commit(ledger, Unit(Step.RENDER, i), facts, 16.0 + i % 7, WORKERS[(i * 7) % 4])
    if rendered < CHUNKS and rendered:
        why = Failure("OutOfMemory", "the worker ran out of memory", "8 GB were not enough", "", "", "render-2")
        ledger.fail(Unit(Step.RENDER, rendered), new_id(), why)
    return ledger


def commit(ledger: Ledger, unit: Unit, facts: Facts, seconds: float = 2.0, worker: str = "render-1") -> None:
    """A unit is done."""
    ledger.commit(unit, new_id(), facts, seconds, worker)


def people(frames: int) -> LinkFacts:
    """Three who come and go, one of them far away and behind a hand."""
    spans = {
        0: [(0, 3000), (4200, 9000), (11000, frames)],
        1: [(1200, 2600), (5200, 8800), (12000, 15000)],
        2: [(7000, 7600)],
        3: [(900, 1300), (9200, 11400)],
    }
    sizes = {0: (184, 512), 1: (96, 230), 2: (14, 22), 3: (60, 148)}
    tracks = []
    for person, pieces in spans.items():
        for first, last in pieces:
            count = last - first - 3
            treated = {"replace": count}
            if person == 2:
                treated = {"cover_small": count}
            if person == 3:
                treated = {"replace": count - 240, "cover_profile": 150, "cover_presence": 90}
            tracks.append(TrackFacts(len(tracks), person, first, last, count, *sizes[person], treated))
    ids = {"0": "4f1c9a7be2d05388", "1": "b07d11c5e96a2f43", "2": "", "3": "09ce5b8824d7f1a6"}
    return LinkFacts(4, {key: value for key, value in ids.items() if value}, tuple(tracks))


def done(dash: Dash, name: str, film: bytes = b"film", **options: Any) -> str:
    """A job that is through, with its film."""
    job = dash.job(name, JobState.DONE, **options)
    ledger = inside(dash, job, CHUNKS, CHUNKS, True)
    frames = FRAMES * CHUNKS
    stitched = StitchFacts("film.mp4", "c" * 64, len(film), frames, frames, True, True, Fraction(0), (), ())
    commit(ledger, Unit(Step.STITCH), stitched, 3.1)
    key = layout.output(job, name)
    dash.store.create(key, film)
    dash.store.create(f"{key}.report.json", b'{"people": 4}')
    now = time.time()
    result = JobResult(JobState.DONE, "", now, key, f"{key}.report.json", frames, 2190.0, 4, len(film), 131)
    dash.book.close(job, 1, result)
    return job


def indexed(ledger: Ledger, pts: Sequence[int], end: int, base: Fraction, first: int = 0) -> None:
    """Another film, with these times of its frames; a plan without chunks, of the frames from `first` on."""
    times, flags = np.array(pts, np.int64), np.ones(len(pts), np.bool_)
    index = FrameIndex(times, np.diff(times, append=end), flags, ~flags, (), 0, base)
    for step in (Step.INDEX, Step.PLAN):
        ledger.undo(Unit(step))
    attempt = new_id()
    scratch = ledger.begin(Unit(Step.INDEX), attempt)
    index.save(scratch / "index.npz")
    ledger.keep(Unit(Step.INDEX), attempt, scratch)
    ledger.commit(Unit(Step.INDEX), attempt, IndexFacts(len(pts), index.seconds(), 1, 0), 1.0)
    commit(ledger, Unit(Step.PLAN), Plan(first, len(pts), ()))


def held(dash: Dash, name: str, film: bytes = b"film", **options: Any) -> str:
    """A job that waits for its release."""
    job = dash.job(name, JobState.REVIEW, review=True, **options)
    ledger = inside(dash, job, CHUNKS, CHUNKS, True)
    frames, attempt = FRAMES * CHUNKS, new_id()
    facts = StitchFacts("film.mp4", "c" * 64, len(film), frames, frames, True, True, Fraction(0), (), ())
    ledger.commit(Unit(Step.STITCH), attempt, facts, 3.1, "render-1")
    dash.store.create(f"{layout.attempt(job, Step.STITCH, None, attempt)}/film.mp4", film)
    return job


def furnish(dash: Dash, film: bytes = b"film") -> dict[str, str]:
    """A farm at work; jobs by what they are."""
    found = {
        "waiting": dash.job("Council meeting, part 2.mp4", JobState.WAITING, age=9000),
        "cancelled": dash.job("old-trailer.mov", JobState.CANCELLED, owner="lee", age=250_000),
        "done": done(dash, "Interview am Bahnhof.mp4", film, age=7200),
        "failed": dash.job(
            "broken upload.mkv",
            JobState.FAILED,
            owner="lee",
            age=4000,
            reason="the film ends in the middle of a frame; send it again",
        ),
        "paused": dash.job("Harbour drone, 4K.mp4", JobState.PAUSED, age=3000, reason="paused by kim"),
        "other": dash.job("street-cam-0412.mp4", JobState.RUNNING, owner="lee", age=1800),
        "running": dash.job("Council meeting, part 1.mp4", JobState.RUNNING, age=900, priority=20),
        "queued": dash.job("Schulfest 2026.mp4", JobState.QUEUED, age=300, priority=5),
    }
    inside(dash, found["running"], CHUNKS, 27, True)
    for what, cause in (
        ("running", ""),
        ("render of chunk 27 failed on render-2 (memory) and is tried again: it ran out of memory", "OutOfMemory"),
    ):
        dash.book.note(found["running"], Entry(time.time() - 200, "controller", what, None, cause))
    farm(dash, found)
    an_hour(dash, found["running"])
    return found


def an_hour(dash: Dash, job: str) -> None:
    """Of speed: the farm was quiet, then it found faces, and then it drew new ones."""
    series, now, done = dash.app.state.series, time.monotonic(), Counter[Step]()
    for index in range(690):
        wave = 6 * math.sin(index / 31) + 3 * math.sin(index / 7)
        done[Step.ANALYSE] += round(5 * max(0.0, min((index - 90) / 4, 62 + wave) if index < 430 else 21 + wave))
        done[Step.RENDER] += round(5 * max(0.0, min((index - 250) / 5, 27 + wave / 2)))
        series.note(
            now - (690 - index) * 5, [Progress(job, step, count, 10**6, 1, 1, 1) for step, count in done.items()]
        )


def farm(dash: Dash, found: dict[str, str]) -> None:
    """Five workers."""
    why = "three films in a row ended it: the graphics driver is too old"
    dash.status = FarmStatus(
        time.time(),
        "studio",
        (
            WorkerStatus("render-1", "cpu", "busy", found["running"], "render of chunk 28", 140, 14.2, ""),
            WorkerStatus("render-2", "cpu", "busy", found["running"], "render of chunk 29", 30, 12.9, ""),
            WorkerStatus("render-3", "cpu", "drained", "", "", 0, 13.4, ""),
            WorkerStatus("gpu-1", "cuda", "busy", found["other"], "analyse of chunk 3", 80, 96.0, ""),
            WorkerStatus("gpu-2", "cuda", "blocked", "", "", 0, 0.0, why),
        ),
        (),
    )
    dash.progress = (
        Progress(found["running"], Step.RENDER, 6750, 16_000, 251.0, 26.9, 344.0, 377.0, 1460.0),
        Progress(found["other"], Step.ANALYSE, 900, 7400, 12.0, 75.0, 86.7, 264.0, 610.0),
    )


def listed(number: int) -> Row:
    """One of very many jobs, as the list has them."""
    state = list(JobState)[number % 7]
    now = time.time()
    card = Card(f"film {number}.mp4", f"user{number % 40}", now - number, (), f"team{number % 5}")
    return Row(new_id(), card, Control(state, "a reason" if state is JobState.FAILED else "", now, priority=number % 3))
