"""Review on a real farm: `veilfarm serve`, Ray, a film with two shots, and a reviewer at the API."""

import io
import re
from pathlib import Path
from typing import Any

import av
import httpx2
import numpy as np
import pytest
import torch
from PIL import Image
from portrait import scene
from serving import PATIENCE, FarmStore, Serving, until

from cluster.desk import Desk, Wish
from cluster.job import MendFacts, Step, StitchFacts
from cluster.ledger import Ledger
from cluster.states import JobState

WIDTH, HEIGHT, SIDE, CUT, FRAMES = 320, 240, 150, 125, 175


def a_film(path: Path) -> Path:
    """Two people side by side; then, in another place, one of them and a textured thing that moves."""
    room = torch.from_numpy(np.random.default_rng(1).random((3, HEIGHT // 24, WIDTH // 24), np.float32))
    wild = torch.nn.functional.interpolate(room[None], (HEIGHT, WIDTH), mode="bilinear")[0] * 0.5 + 0.4
    thing = torch.from_numpy(np.random.default_rng(2).random((3, 10, 10), np.float32))
    thing = torch.nn.functional.interpolate(thing[None], (50, 50), mode="bicubic")[0].clamp(0, 1)
    with av.open(path, "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "10", "preset": "veryfast", "g": "25"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(FRAMES):
            if number < CUT:
                image = scene(WIDTH, HEIGHT, (2 + number % 4, 40, SIDE), (164 - number % 4, 44, SIDE))
            else:
                image = wild.clone()
                image[:, 60:210, 10:160] = scene(WIDTH, HEIGHT, (10, 60, SIDE))[:, 60:210, 10:160]
                x = 190 + number - CUT
                image[:, 100:150, x : x + 50] = thing
            pixels = (image.permute(1, 2, 0).clamp(0, 1).numpy() * 255).astype(np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode())
    return path


def lumas(path: Path) -> list[np.ndarray]:
    with av.open(path) as film:
        return [frame.to_ndarray(format="yuv420p")[:HEIGHT].astype(np.float32) for frame in film.decode(video=0)]


class Reviewer:
    """At the API."""

    def __init__(self, serving: Serving, job: str) -> None:
        until(lambda: "vf_" in serving.said())
        url, token = re.search(r"http://[\d.:]+", serving.said()), re.search(r"vf_[\w-]+", serving.said())
        assert url is not None
        assert token is not None
        self.client = httpx2.Client(base_url=url[0], headers={"Authorization": f"Bearer {token[0]}"}, timeout=PATIENCE)
        self.where = f"/v1/jobs/{job}"

    def edit(self, **fields: Any) -> dict[str, Any]:
        tag = self.client.get(f"{self.where}/edits").headers["ETag"]
        answer = self.client.post(f"{self.where}/edits", json=fields, headers={"If-Match": tag})
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()["edits"][-1]
        return found

    def post(self, what: str) -> None:
        answer = self.client.post(f"{self.where}/{what}")
        assert answer.status_code == 202, answer.text

    def people(self) -> dict[int, dict[str, Any]]:
        answer = self.client.get(f"{self.where}/people")
        assert answer.status_code == 200, answer.text
        return {each["person"]: each for each in answer.json()}

    def picture(self, person: int, which: str) -> np.ndarray:
        answer = self.client.get(f"{self.where}/people/{person}/{which}.jpg")
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "image/jpeg"
        return np.asarray(Image.open(io.BytesIO(answer.content)).convert("L"), np.float32)


def attempts(ledger: Ledger, edits: int) -> list[str]:
    found = [ledger.done(unit) for unit in ledger.units_of(Step.RENDER, edits)]
    return [done.attempt for done in found if done is not None]


def film_of(ledger: Ledger, edits: int) -> list[np.ndarray]:
    facts = ledger.facts(StitchFacts, edits=edits)
    return lumas(ledger.folder(ledger.unit(Step.STITCH, None, edits)) / facts.film)


def change(before: np.ndarray, after: np.ndarray, box: tuple[int, int, int, int]) -> float:
    x0, y0, x1, y1 = box
    return float(np.abs(before[y0:y1, x0:x1] - after[y0:y1, x0:x1]).mean())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_film_is_held_mended_and_approved(tmp_path: Path) -> None:
    source = a_film(tmp_path / "film.mp4")
    farm = FarmStore(str(tmp_path / "store"), tmp_path)
    with farm.serve(
        "--workers", "1", "--steady-chunks", "--listen", "127.0.0.1:0", "--allow", str(tmp_path)
    ) as serving:
        wish = Wish(to=str(tmp_path / "out.mp4"), review=True)
        job = Desk(farm.book, farm.place).submit(str(source), wish)
        farm.reached(job, JobState.REVIEW)
        kim, ledger, before = Reviewer(serving, job), farm.book.ledger(job), lumas(source)
        assert not (tmp_path / "out.mp4").exists()
        first, people = film_of(ledger, 0), kim.people()
        chunks = ledger.chunks()
        assert len(people) >= 2

        # Pictures of the same place: the new face, and the original, of which the history knows.
        new, old = kim.picture(0, "after"), kim.picture(0, "before")
        assert new.shape == old.shape
        assert np.abs(new - old).mean() > 3
        assert any("looked at the original of person 0" in entry.what for entry in farm.book.history(job))

        # A box that is drawn over the thing in the second shot is followed, and the first chunk is not touched.
        kim.edit(kind="box", frame=CUT + 20, box=[205, 95, 265, 155])
        kim.post("mend")
        farm.reached(job, JobState.REVIEW)
        one, mended = farm.book.control(job).edits, film_of(ledger, 1)
        facts = ledger.facts(MendFacts, edits=one)
        same = [a == b for a, b in zip(attempts(ledger, 0), attempts(ledger, one), strict=True)]
        assert same == [str(chunk.index) not in facts.renders for chunk in chunks]
        assert same[0]
        assert not same[-1]
        for number in (CUT + 2, CUT + 20, CUT + 45):
            x = 190 + number - CUT
            assert change(before[number], mended[number], (x, 100, x + 50, 150)) > 15, number
            assert change(before[number], first[number], (x, 100, x + 50, 150)) < 8, number
        assert len(mended) == FRAMES

        # One person stays, for a reason; another gets another face; nobody else changes.
        there = sorted(people)
        kim.edit(kind="keep", person=there[1], reason="signed the form")
        kim.edit(kind="face", person=there[0])
        kim.post("mend")
        farm.reached(job, JobState.REVIEW)
        now, again = kim.people(), film_of(ledger, 3)
        assert now[there[1]]["kept"] > 0
        assert now[there[0]]["identity"] not in (None, people[there[0]]["identity"])
        kept = next(t for t in ledger.linked(3).tracks if t.person == there[1] and t.best < CUT)
        assert change(before[kept.best], again[kept.best], kept.best_box) < 4
        assert change(before[kept.best], first[kept.best], kept.best_box) > 4

        kim.post("approve")
        farm.reached(job, JobState.DONE)
        report = kim.client.get(f"{kim.where}/report").json()
        assert [(e["kind"], e["who"], e["reason"]) for e in report["review"]["edits"]] == [
            ("box", "admin", ""),
            ("keep", "admin", "signed the form"),
            ("face", "admin", ""),
        ]
        assert report["review"]["approved_by"] == "admin"
        assert report["faces"]["kept_visible"] == now[there[1]]["kept"]
        assert len(lumas(tmp_path / "out.mp4")) == FRAMES
        assert not [key for key in farm.objects(f"jobs/{job}") if "/try/" in key or key.endswith("/secret")]
        kim.client.close()
