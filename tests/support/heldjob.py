"""A job that is rendered and held for review, over HTTP, and somebody who reviews it."""

from fractions import Fraction
from typing import Any

from apiclient import Api
from apifarm import submit

from cluster.job import ChunkRecord, IndexFacts, LinkFacts, Plan, SourceFacts, Step, TrackFacts
from cluster.ledger import Ledger, Unit
from cluster.states import Move
from cluster.users import Role

TRACKS = (
    TrackFacts(0, 0, 0, 20, 20, 40, 60, {"replace": 18, "cover_small": 2}, (2, 18), 7, (1, 2, 3, 4)),
    TrackFacts(1, 1, 15, 25, 10, 12, 14, {"cover_small": 10}, (16, 24), 20, (1, 2, 3, 4)),
    TrackFacts(2, 0, 25, 30, 5, 30, 90, {"replace": 5}, (25, 30), 28, (1, 2, 3, 4)),
    TrackFacts(3, 2, 24, 30, 6, 30, 90, {"replace": 6}, (26, 30), 28, (1, 2, 3, 4)),
)


def held_job(api: Api) -> str:
    """Kim's, rendered and held for review."""
    found = submit(api.book, "talk.mp4", "kim", review=True, team="news")
    ledger = Ledger(api.store, found)
    chunks = tuple(ChunkRecord(i, i * 10, i * 10 + 10, i * 10, i * 10 + 10, "") for i in range(3))
    ledger.commit(
        Unit(Step.INGEST), "I", SourceFacts("0" * 64, "mov", "h264", "yuv420p", 64, 48, 90, Fraction(25), ()), 1
    )
    ledger.commit(Unit(Step.INDEX), "X", IndexFacts(30, Fraction(30, 25), 1, 0), 1)
    ledger.commit(Unit(Step.PLAN), "A", Plan(0, 30, chunks), 0.1)
    ledger.commit(Unit(Step.LINK), "B" * 26, LinkFacts(3, {"0": "0123456789abcdef"}, TRACKS), 0.2)
    api.book.change(found, "controller", Move.START)
    api.book.change(found, "controller", Move.HOLD)
    return found


class Reviewer:
    """Somebody who edits by what they saw last."""

    def __init__(self, api: Api, job: str, name: str = "kim", role: Role = Role.REVIEWER, team: str = "news") -> None:
        self.client, self.job = api.client(name, role, team), job
        self.tag = ""

    def look(self) -> dict[str, Any]:
        answer = self.client.get(f"/v1/jobs/{self.job}/edits")
        assert answer.status_code == 200, answer.text
        self.tag = answer.headers["ETag"]
        found: dict[str, Any] = answer.json()
        return found

    def edit(self, kind: str, status: int = 201, **fields: Any) -> dict[str, Any]:
        answer = self.client.post(
            f"/v1/jobs/{self.job}/edits", json={"kind": kind, **fields}, headers={"If-Match": self.tag}
        )
        assert answer.status_code == status, answer.text
        if status == 201:
            self.tag = answer.headers["ETag"]
        found: dict[str, Any] = answer.json()
        return found

    def undo(self, edit: str, status: int = 200) -> dict[str, Any]:
        answer = self.client.delete(f"/v1/jobs/{self.job}/edits/{edit}", headers={"If-Match": self.tag})
        assert answer.status_code == status, answer.text
        if status == 200:
            self.tag = answer.headers["ETag"]
        found: dict[str, Any] = answer.json()
        return found

    def people(self) -> dict[int, dict[str, Any]]:
        return {each["person"]: each for each in self.client.get(f"/v1/jobs/{self.job}/people").json()}

    def post(self, what: str, status: int = 202) -> dict[str, Any]:
        answer = self.client.post(f"/v1/jobs/{self.job}/{what}")
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found
