"""Which key holds what. The only place that spells keys.

jobs/{job}/spec.json                            create-once: source, target, settings
jobs/{job}/plan.json                            create-once: source facts, chunks
jobs/{job}/chunks/{i}/{step}/try/{id}/…         unique, never overwritten
jobs/{job}/chunks/{i}/{step}/DONE.json          create-once = the commit
jobs/{job}/chunks/{i}/{step}/fail/{id}.json     append-only
jobs/{job}/film/{step}/…                        the same for steps that see the whole film
jobs/{job}/RESULT.json                          create-once
"""


def job(job_id: str) -> str:
    """Everything of one job."""
    return f"jobs/{job_id}"


def spec(job_id: str) -> str:
    """What was asked for."""
    return f"jobs/{job_id}/spec.json"


def plan(job_id: str) -> str:
    """What the source is, and into which chunks it is cut."""
    return f"jobs/{job_id}/plan.json"


def result(job_id: str) -> str:
    """How the job ended."""
    return f"jobs/{job_id}/RESULT.json"


def unit(job_id: str, step: str, chunk: int | None) -> str:
    """The folder of one step of one chunk, or of a step that sees the whole film (`chunk` None)."""
    where = "film" if chunk is None else f"chunks/{chunk:06d}"
    return f"jobs/{job_id}/{where}/{step}"


def attempt(job_id: str, step: str, chunk: int | None, attempt_id: str) -> str:
    """What one try at a unit wrote."""
    return f"{unit(job_id, step, chunk)}/try/{attempt_id}"


def done(job_id: str, step: str, chunk: int | None) -> str:
    """The record that commits a unit: which try counts."""
    return f"{unit(job_id, step, chunk)}/DONE.json"


def failures(job_id: str, step: str, chunk: int | None) -> str:
    """The folder of a unit's failure records."""
    return f"{unit(job_id, step, chunk)}/fail"


def failure(job_id: str, step: str, chunk: int | None, attempt_id: str) -> str:
    """Why one try failed."""
    return f"{failures(job_id, step, chunk)}/{attempt_id}.json"
