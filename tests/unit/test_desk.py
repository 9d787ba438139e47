"""What people ask for becomes jobs."""

from pathlib import Path

import pytest
from simfarm import a_spec, submit

from cluster import desk as desks
from cluster import places
from cluster.book import Book, Card, NoSuchJob
from cluster.config import UsageError
from cluster.desk import Desk, Wish
from cluster.job import new_id
from cluster.states import JobState
from pipeline.errors import NotAVideo
from storage.memory import MemoryStore
from storage.objects import AlreadyThere


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "my film.avi"
    path.write_bytes(b"film")
    return path


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Of a farm on this machine."""
    monkeypatch.setattr(desks, "made_by", lambda: "test")
    return Desk(Book(MemoryStore()), "/store")


@pytest.fixture
def far(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Of a farm in a bucket."""
    far = Desk(desk.book, "s3://bucket/farm/")
    name = "s3://bucket/farm/"
    for module in (desks, places):
        monkeypatch.setattr(module, "parse_object", lambda url: (desk.book.store, url.removeprefix(name)))
    return far


def test_a_film_becomes_a_job_as_it_was_wished(desk: Desk, film: Path, tmp_path: Path) -> None:
    first = submit(desk.book)
    wish = Wish(f"{tmp_path}/out/", owner="anna", priority=4, limit=2, deadline=9.0, after=(first,), team="news")
    job = desk.submit(str(film), wish, b"k" * 32)
    spec, card, control = desk.book.ledger(job).spec(), desk.book.card(job), desk.book.control(job)
    assert spec.source.place == str(film)
    assert spec.target == f"{tmp_path}/out/my film.mp4"  # AVI can't hold exact times
    assert (card.name, card.owner, card.team, card.after) == ("my film.avi", "anna", "news", (first,))
    assert (control.state, control.priority, control.limit, control.deadline) == (JobState.WAITING, 4, 2, 9.0)
    assert desk.book.ledger(job).secret() == b"k" * 32


@pytest.mark.parametrize(
    ("to", "several", "target"),
    [
        ("", False, ""),
        ("{tmp}/a.mkv", False, "{tmp}/a.mkv"),
        ("{tmp}/new/", True, "{tmp}/new/my film.mp4"),
        ("{tmp}", False, "{tmp}/my film.mp4"),
        ("s3://bucket/farm/out/", False, "s3://bucket/farm/out/my film.mp4"),
        ("s3://bucket/farm/a.mp4", False, "s3://bucket/farm/a.mp4"),
    ],
)
def test_where_it_goes(far: Desk, film: Path, tmp_path: Path, to: str, several: bool, target: str) -> None:
    job = far.submit(str(film), Wish(to.format(tmp=tmp_path)), several=several)
    assert far.book.ledger(job).spec().target == target.format(tmp=tmp_path)


@pytest.mark.parametrize(
    ("wish", "several", "says"),
    [
        (Wish("{tmp}/a.mp4"), True, "several films go into a folder"),
        (Wish("{tmp}/my film.avi"), False, "replace its own source"),
        (Wish("{tmp}/there.mp4"), False, "exists"),
        (Wish("s3://bucket/farm/there.mp4"), False, "exists"),
        (Wish("{tmp}/a.gif"), False, "can't write this kind"),
        (Wish(quality="superb"), False, "unknown"),
        (Wish("{tmp}/a.webm", codec="h264"), False, "doesn't go into"),
    ],
)
def test_what_cant_be_is_refused_and_nothing_is_left(
    far: Desk, film: Path, tmp_path: Path, wish: Wish, several: bool, says: str
) -> None:
    (tmp_path / "there.mp4").write_bytes(b"")
    far.book.store.put_file("there.mp4", film)
    wish = Wish(wish.to.format(tmp=tmp_path), quality=wish.quality, codec=wish.codec)
    with pytest.raises(UsageError, match=says):
        far.submit(str(film), wish, several=several)
    assert list(far.book.store.keys("")) == ["there.mp4"]  # no upload either


def test_a_job_after_none_is_refused_before_anything_is_brought(far: Desk, film: Path) -> None:
    with pytest.raises(NoSuchJob):
        far.submit(str(film), Wish(after=(new_id(),)))
    assert not list(far.book.store.keys(""))


def test_overwriting_must_be_asked_for(desk: Desk, film: Path, tmp_path: Path) -> None:
    (tmp_path / "there.mp4").write_bytes(b"")
    job = desk.submit(str(film), Wish(f"{tmp_path}/there.mp4", overwrite=True))
    publish = desk.book.ledger(job).spec().publish
    assert publish is not None
    assert publish.overwrite


def test_what_is_no_film(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    for name in ("nothing.mp4", "folder.mp4"):
        with pytest.raises(NotAVideo):
            desk.submit(str(tmp_path / name), Wish())


def test_a_film_of_this_machine_is_brought_into_a_bucket(far: Desk, film: Path) -> None:
    job = far.submit(str(film), Wish())
    place = far.book.ledger(job).spec().source.place
    assert place.startswith("s3://bucket/farm/uploads/")
    assert far.book.store.read(place.removeprefix("s3://bucket/farm/")) == b"film"
    with pytest.raises(AlreadyThere):
        far.submit(str(film), Wish(), job_id=job)
    assert len(list(far.book.store.keys("uploads"))) == 1  # the second one's is gone again
    assert far.book.erase_upload(far.book.ledger(job)) == 1


def test_a_finished_film_is_fetched(far: Desk, film: Path, tmp_path: Path) -> None:
    far.book.store.put_file("outputs/x/a.mp4", film)
    out = tmp_path / "new" / "b.mp4"
    assert far.fetch("outputs/x/a.mp4", out, overwrite=False) == out
    assert out.read_bytes() == b"film"
    with pytest.raises(UsageError, match="exists"):
        far.fetch("outputs/x/a.mp4", out, overwrite=False)
    assert far.fetch("s3://bucket/farm/outputs/x/a.mp4", out, overwrite=True) == out
    assert far.fetch(str(film), tmp_path / "new", overwrite=False) == tmp_path / "new" / "my film.avi"


def test_jobs_are_chosen_by_the_ends_of_their_ids(desk: Desk) -> None:
    jobs = [submit(desk.book) for _ in range(3)]
    assert desk.choose(jobs) == tuple(jobs)
    assert desk.choose([jobs[1][-10:].lower()]) == (jobs[1],)
    with pytest.raises(UsageError, match="no job's id ends so"):
        desk.choose(["UUUU"])
    for number in range(2):
        desk.book.submit(a_spec(), Card("x", "", 0.0), job_id=f"0{number}" + "Z" * 24)
    with pytest.raises(UsageError, match="the ids of 2 jobs end so"):
        desk.choose(["ZZZZ"])
    with pytest.raises(UsageError, match="empty"):
        desk.choose([""])
    with pytest.raises(NoSuchJob):
        desk.choose([new_id()])
    with pytest.raises(NoSuchJob):
        desk.choose(["x" * 40])


def test_an_empty_name_is_nobody_even_if_there_is_one_job_only(desk: Desk) -> None:
    submit(desk.book)
    with pytest.raises(UsageError):
        desk.choose([""])
