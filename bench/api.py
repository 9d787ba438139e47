"""How fast the API answers, and what an upload costs in memory: the real server over a folder, without workers.

    .venv/bin/python bench/api.py [--jobs 10000]        # pages of the list of jobs, whole responses over loopback
    .venv/bin/python bench/api.py --upload 5120         # MiB, in two halves; takes twice that on disk

Prints JSON lines. The server is a process of its own, so that its memory is known.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import urllib3

from cluster.book import Book, Card, Control
from cluster.front import Address, Front, FrontSettings
from cluster.job import Encoding, JobSpec, Publish, Source, Veil
from cluster.service import Service
from cluster.states import JobState
from storage.folder import FolderStore

TIMES = 50
OCTETS = {"Content-Type": "application/offset+octet-stream"}


class NoWorkers:
    """A pool that does nothing."""

    size, places = 0, ()

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: [] if name == "poll" else {} if name == "frames" else ()


def serve(folder: str) -> None:
    """The process with the server, until it is killed."""
    front = Front(FolderStore(Path(folder)), folder, FrontSettings(Address("127.0.0.1", 0, True)))
    front.start(Service(front.store, folder, NoWorkers(), front.changed), lambda text: print(text, flush=True))  # type: ignore[arg-type]
    time.sleep(1e6)


class Client:
    """An admin."""

    def __init__(self, folder: str) -> None:
        command = [sys.executable, __file__, "--serve", folder]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url, token = (self.process.stdout.readline().split()[-1] for _ in range(2))
        self.headers = {"Authorization": f"Bearer {token}", "Tus-Resumable": "1.0.0"}
        self.http = urllib3.PoolManager(timeout=3600)

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, body: Any = None) -> Any:
        """The answer."""
        return self.http.request(method, self.url + path, headers={**self.headers, **(headers or {})}, body=body)

    def memory(self) -> int:
        """The most that the server had, in MB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+)", text)
        assert found is not None
        return int(found[1]) // 1024


def lists(client: Client, jobs: int) -> None:
    """Medians of pages."""
    while client.ask("GET", "/readyz").status != 200:
        time.sleep(0.5)
    for query in ("", "?limit=500", "?q=film+09", "?state=queued&owner=user3"):
        times = []
        for _ in range(TIMES):
            began = time.perf_counter()
            answer = client.ask("GET", f"/v1/jobs{query}")
            times.append(time.perf_counter() - began)
        total = json.loads(answer.data)["total"]
        facts = {"median_ms": round(statistics.median(times) * 1000, 1), "worst_ms": round(max(times) * 1000, 1)}
        print(json.dumps({"list": query, "jobs": jobs, "matching": total, **facts}), flush=True)


def upload(client: Client, size: int) -> None:
    """In two halves."""
    block, before, began = os.urandom(1 << 20), client.memory(), time.monotonic()

    def body(count: int) -> Iterator[bytes]:
        for _ in range(count):
            yield block

    place = client.ask("POST", "/v1/uploads", {"Upload-Length": str(size << 20)}).headers["location"]
    for start, count in ((0, size // 2), (size // 2, size - size // 2)):
        answer = client.ask("PATCH", place, {**OCTETS, "Upload-Offset": str(start << 20)}, body(count))
        assert answer.status == 204, answer.data
    facts = {"seconds": round(time.monotonic() - began, 1), "memory_before_mb": before, "memory_mb": client.memory()}
    print(json.dumps({"upload_mb": size, **facts}), flush=True)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--upload", type=int)
    parser.add_argument("--serve")
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.serve)
    # Lists don't read the store; in memory ten thousand jobs are made in seconds.
    with tempfile.TemporaryDirectory(dir="/var/tmp" if asked.upload else "/dev/shm") as folder:
        if not asked.upload:
            book = Book(FolderStore(Path(folder)))
            spec = JobSpec(
                Source("s3://films/in.mp4", 4, "1"), "", Veil.NOBODY, Encoding(None, None, 0, None), None, None, "any",
                None, "", Publish("film.mp4", False)
            )  # fmt: skip
            for number in range(asked.jobs):
                card = Card(f"film {number:05}.mp4", f"user{number % 20}", time.time())
                book.submit(spec, card, Control(JobState.QUEUED, "", time.time()))
        client = Client(folder)
        try:
            upload(client, asked.upload) if asked.upload else lists(client, asked.jobs)
        finally:
            client.process.kill()
            client.process.wait()


if __name__ == "__main__":
    main()
