"""Jobs as records: submitted, changed by compare-and-swap, told of, erased."""

import threading

import pytest
from simfarm import Clock, KilledError, MemoryStore, Mortal, a_spec, submit

from cluster.book import Book, Card, Entry, JobResult, NoSuchJob, NotNow
from cluster.job import born, id_after, new_id
from cluster.ledger import Ledger
from cluster.states import JobState, Move
from storage import layout
from storage.objects import AlreadyThere, Conflict


@pytest.fixture
def book() -> Book:
    return Book(MemoryStore(), Clock())


def test_a_new_job_is_whole_and_the_controller_is_told(book: Book) -> None:
    job = submit(book, 7, owner="anna", priority=3, limit=2, deadline=5.0)
    control = book.control(job)
    assert (control.state, control.priority, control.limit, control.deadline) == (JobState.QUEUED, 3, 2, 5.0)
    assert book.card(job) == Card("7.mp4", "anna", book.clock())
    assert list(book.notices()) == [job]
    assert list(book.open_jobs()) == [job] == list(book.jobs())
    assert [entry.what for entry in book.history(job)] == ["submitted"]
    assert len(book.ledger(job).secret()) == 32
    later = submit(book, after=[job])
    assert book.control(later).state is JobState.WAITING
    assert book.jobs() == tuple(sorted([job, later]))


def test_an_id_that_is_taken_is_refused_and_changes_nothing(book: Book) -> None:
    job = submit(book)
    before = dict(book.store._objects)  # type: ignore[attr-defined]
    with pytest.raises(AlreadyThere):
        book.submit(a_spec(2), Card("b", "", 0.0), job_id=job)
    assert book.store._objects == before  # type: ignore[attr-defined]


NAMES = [
    "",
    "x",
    "../../etc/passwd",
    "0" * 25,
    "0" * 27,
    "u" * 26,
    "U" * 26,
    "01ARZ3NDEKTSV4RRFFQ69G5FA/",
    "0" * 26 + "\n",
]


@pytest.mark.parametrize("name", NAMES)
def test_what_cant_be_an_id_leads_to_no_key(name: str) -> None:
    mortal = Mortal(MemoryStore())
    book = Book(mortal)  # type: ignore[arg-type]
    for call in (book.control, book.card, book.ledger, book.erase):
        with pytest.raises(NoSuchJob):
            call(name)
    with pytest.raises(NoSuchJob):
        book.change(name, "x", Move.CANCEL)
    assert not mortal.operations


def test_an_id_of_nobody(book: Book) -> None:
    with pytest.raises(NoSuchJob, match="there is no job"):
        book.control(new_id())
    with pytest.raises(NoSuchJob):
        book.change(new_id(), "x", None, priority=1)


def test_racing_changes_are_all_made_one_after_the_other(book: Book) -> None:
    job = submit(book)
    seen: list[int] = []

    def change(number: int) -> None:
        for _ in range(5):
            while True:
                try:
                    seen.append(book.change(job, f"{number}", None, priority=number).revision)
                except Conflict:
                    continue
                break

    threads = [threading.Thread(target=change, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(1, 31))
    assert book.control(job).revision == 30


def test_of_racing_moves_one_is_made(book: Book) -> None:
    for _ in range(10):
        job, won = submit(book), list[Move]()

        def move(way: Move, job: str = job, won: list[Move] = won) -> None:
            try:
                book.change(job, "x", way)
            except NotNow:
                return
            won.append(way)

        threads = [threading.Thread(target=move, args=(way,)) for way in (Move.START, Move.START, Move.START)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert won == [Move.START]


def test_who_is_always_too_late_is_told_so(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    job = submit(book)

    def late(*_: object) -> str:
        raise Conflict("others")

    monkeypatch.setattr(book.store, "replace", late)
    with pytest.raises(Conflict, match="try again"):
        book.change(job, "x", Move.START)


def test_changes_are_told_and_noted(book: Book) -> None:
    job = submit(book)
    told = len(book.notices()[job])
    seen = []
    book.seen = lambda name, control: seen.append(control.state)
    book.change(job, "anna", None, priority=4, limit=None)
    book.clock.now += 1  # type: ignore[attr-defined]
    book.change(job, "anna", Move.PAUSE, "lunch")
    book.change(job, "controller", None, tell=False, priority=5)
    assert len(book.notices()[job]) == told + 2
    assert seen == [JobState.QUEUED, JobState.PAUSED, JobState.PAUSED]
    lines = {entry.what: entry for entry in book.history(job)}
    assert set(lines) == {"submitted", "priority 0 → 4", "paused: lunch", "priority 4 → 5"}
    assert lines["paused: lunch"].state is JobState.PAUSED
    assert lines["priority 0 → 4"].who == "anna"
    assert book.control(job).reason == "lunch"  # another field changes nothing of it
    assert book.control(job).since == book.clock()


def test_notices_are_one_page_by_job(book: Book) -> None:
    jobs = [submit(book) for _ in range(2)]
    for _ in range(700):
        for job in jobs:
            book.tell(job)
    assert sum(map(len, book.notices().values())) == 1000


def test_a_retry_begins_a_new_round_and_the_old_one_has_a_result(book: Book) -> None:
    job = submit(book)
    book.change(job, "c", Move.START)
    book.change(job, "c", Move.FAIL, "the film is bad")
    book.unqueue(job)
    assert list(book.open_jobs()) == []
    assert list(book.kept_jobs()) == [job]
    control = book.change(job, "u", Move.RETRY)
    assert (control.state, control.round, control.reason) == (JobState.WAITING, 2, "")
    assert control.round_id > new_id()[:0]
    result = book.result(job, 1)
    assert result is not None
    assert (result.state, result.reason) == (JobState.FAILED, "the film is bad")
    assert book.result(job, 2) is None
    assert list(book.open_jobs()) == [job]
    assert list(book.kept_jobs()) == []


def test_who_takes_a_job_out_of_the_queue_too_late_puts_it_back(book: Book) -> None:
    job = submit(book)
    book.change(job, "u", Move.CANCEL)
    book.change(job, "u", Move.RETRY)
    book.unqueue(job)
    assert list(book.open_jobs()) == [job]
    assert list(book.kept_jobs()) == []


def test_a_project_key_that_was_deleted_is_not_made_up(book: Book) -> None:
    with_key = book.submit(a_spec(key_fingerprint="abc"), Card("a", "", 0.0), secret=b"k" * 32)
    without = submit(book)
    for job in (with_key, without):
        book.change(job, "u", Move.CANCEL)
        Ledger(book.store, job).erase_secret()
    with pytest.raises(NotNow, match="project key"):
        book.change(with_key, "u", Move.RETRY)
    assert book.control(with_key).state is JobState.CANCELLED
    book.change(without, "u", Move.RETRY)
    assert book.ledger(without).has_secret()


def test_a_result_is_written_once(book: Book) -> None:
    job = submit(book)
    first = JobResult(JobState.DONE, "", 1.0, film="a")
    assert book.close(job, 1, first) == first
    assert book.close(job, 1, JobResult(JobState.FAILED, "", 2.0)) == first
    assert book.result(job, 1) == first


def test_while_its_end_is_written_a_job_cant_be_stopped(book: Book) -> None:
    job = submit(book)
    with pytest.raises(NotNow):
        book.change(job, "c", None, ending=JobState.DONE)
    book.change(job, "c", Move.START)
    book.change(job, "c", None, of_round=1, ending=JobState.FAILED, reason="bad")
    for move in (Move.CANCEL, Move.PAUSE):
        with pytest.raises(NotNow, match="just ended"):
            book.change(job, "u", move)
    with pytest.raises(NotNow, match="just ended"):
        book.change(job, "c", None, ending=JobState.DONE)
    with pytest.raises(NotNow, match="another round"):
        book.change(job, "c", Move.FAIL, of_round=2)
    book.change(job, "u", None, priority=3)
    assert book.change(job, "c", Move.FAIL, "bad", of_round=1).ending is None
    assert book.change(job, "u", Move.RETRY).ending is None


def test_erasing(book: Book) -> None:
    job, other = submit(book), submit(book)
    book.store.create(layout.output(job, "film.mp4"), b"film")
    with pytest.raises(NotNow, match="cancel it first"):
        book.erase(job)
    book.change(job, "u", Move.CANCEL)
    book.unqueue(job)
    assert book.erase(job) > 4
    assert not [key for key in book.store.keys("") if job in key and not key.startswith("notices")]
    assert book.jobs() == (other,)
    with pytest.raises(NoSuchJob):
        book.erase(job)


def test_what_is_left_of_half_a_job_can_be_scrapped(book: Book) -> None:
    mortal = Mortal(book.store)
    mortal.die_at(4)
    with pytest.raises(KilledError):
        submit(Book(mortal, book.clock))  # type: ignore[arg-type]
    (half,) = book.open_jobs()
    book.scrap(half)
    assert list(book.store.keys("")) == []
    book.store.create("queue/garbage", b"")
    book.scrap("garbage")
    assert list(book.store.keys("")) == []


def test_ids_sort_by_their_time() -> None:
    early, late = id_after(1000.0), id_after(2000.5)
    assert early < late < new_id()
    assert born(late) == pytest.approx(2000.501)
    assert born("") == born("?") == 0.0
    assert Entry(0.0, "", "").cause == ""
