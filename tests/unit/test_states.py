"""The one table of how a job may go from one state to another."""

import itertools

import pytest
from simfarm import MemoryStore, submit

from cluster.book import Book, NotNow
from cluster.states import OVER, TRANSITIONS, JobState, Move, can

LEGAL = {
    ("waiting", "release"): "queued",
    ("waiting", "pause"): "paused",
    ("waiting", "cancel"): "cancelled",
    ("queued", "start"): "running",
    ("queued", "pause"): "paused",
    ("queued", "cancel"): "cancelled",
    ("running", "finish"): "done",
    ("running", "fail"): "failed",
    ("running", "hold"): "review",
    ("running", "pause"): "paused",
    ("running", "cancel"): "cancelled",
    ("paused", "resume"): "waiting",
    ("paused", "cancel"): "cancelled",
    ("review", "mend"): "queued",
    ("review", "approve"): "queued",
    ("review", "cancel"): "cancelled",
    ("failed", "retry"): "waiting",
    ("cancelled", "retry"): "waiting",
}
WAYS = {  # moves by which a new job comes there
    JobState.QUEUED: (),
    JobState.RUNNING: (Move.START,),
    JobState.PAUSED: (Move.PAUSE,),
    JobState.WAITING: (Move.PAUSE, Move.RESUME),
    JobState.REVIEW: (Move.START, Move.HOLD),
    JobState.DONE: (Move.START, Move.FINISH),
    JobState.FAILED: (Move.START, Move.FAIL),
    JobState.CANCELLED: (Move.CANCEL,),
}


@pytest.mark.parametrize(("state", "move"), itertools.product(JobState, Move))
def test_every_move_from_every_state(state: JobState, move: Move) -> None:
    book = Book(MemoryStore())
    job = submit(book)
    for step in WAYS[state]:
        book.change(job, "x", step)
    assert book.control(job).state is state
    after = LEGAL.get((state.value, move.value))
    assert can(state, move) is (after is not None)
    before = book.control(job)
    if after is None:
        with pytest.raises(NotNow, match=f"a job that is {state}"):
            book.change(job, "x", move)
        assert book.control(job) == before
    else:
        assert book.change(job, "x", move).state == after
        assert book.control(job).state == after


def test_the_table_has_all_states_and_what_is_over_stays_but_for_a_retry() -> None:
    assert set(TRANSITIONS) == set(JobState)
    assert {move for state in OVER for move in TRANSITIONS[state]} == {Move.RETRY}
    assert {state for state in JobState if all(move is Move.RETRY for move in TRANSITIONS[state])} == OVER
