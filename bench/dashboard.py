"""How long the list of jobs takes with 10,000 of them, and how soon a change shows in a browser.

`python bench/dashboard.py`: the pages over a store in memory, asked through a socket by a client on this machine.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

import httpx2
from browser import Watcher, chromium
from dashfarm import Dash, dashboard, listed
from playwright.sync_api import expect

from cluster.sessions import COOKIE
from cluster.states import JobState, Move
from cluster.users import Role


def _pages(dash: Dash, token: str, times: int) -> None:
    cookie = dash.context.sessions.begin(token)
    assert cookie is not None
    with httpx2.Client(cookies={COOKIE: cookie}) as client:
        for page in ("/jobs", "/jobs?state=running&q=99", "/jobs/part"):
            took = []
            for _ in range(times):
                began = time.perf_counter()
                answer = client.get(f"{dash.url}{page}")
                took.append((time.perf_counter() - began) * 1000)
                assert answer.status_code == 200
            median, worst = statistics.median(took), max(took)
            print(f"{page}: median {median:.0f} ms, longest {worst:.0f} ms, {len(answer.content):,} bytes", flush=True)


def _live(dash: Dash, token: str, times: int) -> None:
    took = []
    with chromium() as browser:
        kim = Watcher(browser, dash.url, token)
        for number in range(times):
            job = dash.job(f"live {number}.mp4", JobState.QUEUED)
            row = kim.page.get_by_role("row", name=f"live {number}.mp4")
            expect(row).to_contain_text("Queued", timeout=20_000)
            time.sleep(1.0)
            began = time.perf_counter()
            dash.book.change(job, "controller", Move.START)
            expect(row).to_contain_text("Running", timeout=20_000)
            took.append((time.perf_counter() - began) * 1000)
        kim.close()
    print(f"a change in a browser's list: median {statistics.median(took):.0f} ms, longest {max(took):.0f} ms")


def main() -> None:
    """Prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=50)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, dashboard(Path(folder)) as dash:
        token = dash.token("kim", Role.ADMIN)
        for number in range(asked.jobs):
            row = listed(number)
            dash.index.put(row.job, row.card, row.control)
        _pages(dash, token, asked.times)
        _live(dash, token, 10)


if __name__ == "__main__":
    main()
