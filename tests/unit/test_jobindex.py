"""The index of jobs: lists, pages, and how it keeps up with the store."""

import dataclasses

import pytest
from apifarm import submit

from cluster.book import Book, NoSuchJob
from cluster.jobindex import JobIndex, Query, Row
from cluster.states import JobState, Move
from storage.memory import MemoryStore


@pytest.fixture
def book() -> Book:
    return Book(MemoryStore())


@pytest.fixture
def index(book: Book) -> JobIndex:
    found = JobIndex(book)
    book.seen = found.seen
    return found


def test_pages_go_through_all_jobs_once_the_newest_first(book: Book, index: JobIndex) -> None:
    jobs = sorted(submit(book, f"{n}.mp4") for n in range(7))
    index.refresh()
    seen: list[str] = []
    cursor = None
    while True:
        page = index.page(Query(), 3, cursor)
        assert page.total == 7
        seen += [row.job for row in page.rows]
        if page.next is None:
            break
        cursor = page.next
    assert seen == jobs[::-1]


def test_a_job_that_comes_between_two_pages_moves_nothing(book: Book, index: JobIndex) -> None:
    jobs = sorted(submit(book) for _ in range(4))
    index.refresh()
    first = index.page(Query(), 2)
    submit(book)
    book.store.erase(f"jobs/{jobs[2]}")
    index.refresh()
    second = index.page(Query(), 2, first.next)
    assert [row.job for row in second.rows] == jobs[1::-1]
    assert second.next is None


def test_filters(book: Book, index: JobIndex) -> None:
    mine, yours = submit(book, "Talk.mp4", "me", "news"), submit(book, "walk.mp4", "you")
    book.change(yours, "x", Move.PAUSE)
    index.refresh()

    def found(query: Query) -> set[str]:
        page = index.page(query, 10)
        assert page.total == len(page.rows)
        return {row.job for row in page.rows}

    assert found(Query()) == {mine, yours}
    assert found(Query(owner="me")) == {mine}
    assert found(Query(team="news")) == {mine}
    assert found(Query(states=frozenset({JobState.PAUSED}))) == {yours}
    assert found(Query(text="tALK")) == {mine}
    assert found(Query(text="alk")) == {mine, yours}
    assert found(Query(visible=lambda card: card.owner == "you")) == {yours}


def test_what_the_book_reads_or_writes_is_known_at_once(book: Book, index: JobIndex) -> None:
    job = submit(book)
    index.refresh()
    book.change(job, "x", Move.PAUSE)
    assert index.by_state() == {JobState.PAUSED: 1}


def test_what_others_change_is_found_by_looking(book: Book, index: JobIndex) -> None:
    other = Book(book.store)
    job = submit(other)
    index.refresh()
    assert index.ready
    other.change(job, "x", None, priority=5)
    index.refresh()
    (row,) = index.rows()
    assert row.control.priority == 5
    other.change(job, "x", Move.CANCEL)
    other.unqueue(job)
    index.refresh()
    assert index.by_state() == {JobState.CANCELLED: 1}
    other.change(job, "x", Move.RETRY)
    index.refresh()
    assert index.by_state() == {JobState.WAITING: 1}
    other.change(job, "x", Move.CANCEL)
    other.erase(job)
    index.refresh()
    assert index.rows() == ()


def test_an_older_record_changes_nothing(book: Book, index: JobIndex) -> None:
    job = submit(book)
    card, old = book.card(job), book.control(job)
    index.put(job, card, dataclasses.replace(old, revision=5, priority=7))
    index.put(job, card, old)
    assert index.rows()[0].control.priority == 7


def test_changes_are_told_with_what_was_before(book: Book, index: JobIndex) -> None:
    told: list[tuple[Row | None, Row | None]] = []
    index.changed = lambda before, after: told.append((before, after))
    job = submit(book)
    index.refresh()
    index.refresh()
    book.change(job, "x", Move.CANCEL)
    book.erase(job)
    with pytest.raises(NoSuchJob):
        index.row(job)
    states = [(b and b.control.state, a and a.control.state) for b, a in told]
    assert states == [(None, JobState.QUEUED), (JobState.QUEUED, JobState.CANCELLED), (JobState.CANCELLED, None)]


def test_a_damaged_job_is_left_out_and_the_others_are_there(
    book: Book, index: JobIndex, caplog: pytest.LogCaptureFixture
) -> None:
    job, bad = submit(book), submit(book)
    _, etag = book.store.read_versioned(f"jobs/{bad}/control.json")
    book.store.replace(f"jobs/{bad}/control.json", b"{", etag)
    index.refresh()
    assert [row.job for row in index.rows()] == [job]
    assert f"job {bad} can't be read" in caplog.text
