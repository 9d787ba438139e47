"""The states of a job, and the one table of how it may go from one to another."""

from enum import StrEnum


class JobState(StrEnum):
    """Where a job is."""

    WAITING = "waiting"  # for other jobs
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    REVIEW = "review"  # rendered, and waiting for somebody to look at it; its work is kept for a while
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Move(StrEnum):
    """What makes a job change its state."""

    RELEASE = "release"  # the jobs that it waited for are done
    START = "start"
    FINISH = "finish"
    FAIL = "fail"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    RETRY = "retry"
    HOLD = "hold"  # all but publishing is done, and somebody is to look at it
    MEND = "mend"  # render what reviewers changed
    APPROVE = "approve"  # publish it


OVER = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED})

TRANSITIONS: dict[JobState, dict[Move, JobState]] = {
    JobState.WAITING: {
        Move.RELEASE: JobState.QUEUED,
        Move.PAUSE: JobState.PAUSED,
        Move.CANCEL: JobState.CANCELLED,
    },
    JobState.QUEUED: {
        Move.START: JobState.RUNNING,
        Move.PAUSE: JobState.PAUSED,
        Move.CANCEL: JobState.CANCELLED,
    },
    JobState.RUNNING: {
        Move.FINISH: JobState.DONE,
        Move.FAIL: JobState.FAILED,
        Move.HOLD: JobState.REVIEW,
        Move.PAUSE: JobState.PAUSED,
        Move.CANCEL: JobState.CANCELLED,
    },
    # Mended or approved, it goes on where it was: what is done already isn't done again.
    JobState.REVIEW: {
        Move.MEND: JobState.QUEUED,
        Move.APPROVE: JobState.QUEUED,
        Move.CANCEL: JobState.CANCELLED,
    },
    # What a job waits for is looked at again when it goes on.
    JobState.PAUSED: {Move.RESUME: JobState.WAITING, Move.CANCEL: JobState.CANCELLED},
    JobState.DONE: {},
    JobState.FAILED: {Move.RETRY: JobState.WAITING},
    JobState.CANCELLED: {Move.RETRY: JobState.WAITING},
}


def can(state: JobState, move: Move) -> bool:
    """Whether the table has it."""
    return move in TRANSITIONS[state]
