"""Which key holds what. The only place that spells keys.

jobs/{job}/spec.json                            create-once: source, target, settings
jobs/{job}/card.json                            create-once: owner, name, what it waits for
jobs/{job}/control.json                         compare-and-swap: state, priority, limits
jobs/{job}/secret                               create-once: what seeds are drawn from
jobs/{job}/events/{id}.json                     append-only: the job's history
jobs/{job}/chunks/{i}/{step}/try/{id}/…         unique, never overwritten
jobs/{job}/chunks/{i}/{step}/DONE.json          create-once = the commit
jobs/{job}/chunks/{i}/{step}/fail/{id}.json     append-only
jobs/{job}/chunks/{i}/{step}/log/{id}.jsonl     append-only: what a try said
jobs/{job}/film/{step}/…                        the same for steps that see the whole film
jobs/{job}/results/{round}.json                 create-once: how a round of the job ended
uploads/{id}/{name}                             films that were brought here; deleted when their job is over
outputs/{job}/{name}                            finished films whose target is the store itself
queue/{job}                                     there while the job isn't over
notices/{id}-{job}                              this job is new or its control has changed: look
farm/controller.json                            compare-and-swap: which controller leads
farm/status.json                                how the farm is
farm/unblock/{worker}                           this worker gets another chance
farm/drain/{worker}                             this worker shall get no more orders
"""

import re

_PLAIN = re.compile(r"[^A-Za-z0-9_.\-]+")


def safe(name: str) -> str:
    """A name that people gave, as a part of a key that every store can hold."""
    return _PLAIN.sub("_", name)[:100].lstrip(".-") or "_"


def job(job_id: str) -> str:
    """Everything of one job."""
    return f"jobs/{job_id}"


def spec(job_id: str) -> str:
    """What was asked for."""
    return f"jobs/{job_id}/spec.json"


def card(job_id: str) -> str:
    """Whose it is, and what it is called."""
    return f"jobs/{job_id}/card.json"


def control(job_id: str) -> str:
    """What is to become of it now."""
    return f"jobs/{job_id}/control.json"


def secret(job_id: str) -> str:
    """What its seeds are drawn from."""
    return f"jobs/{job_id}/secret"


def events(job_id: str) -> str:
    """The folder of its history."""
    return f"jobs/{job_id}/events"


def event(job_id: str, event_id: str) -> str:
    """One entry of its history."""
    return f"{events(job_id)}/{event_id}.json"


def result(job_id: str, round_number: int) -> str:
    """How one round of the job ended; a retried job has several."""
    return f"jobs/{job_id}/results/{round_number:03d}.json"


def output(job_id: str, name: str) -> str:
    """A finished film, or its report."""
    return f"outputs/{job_id}/{safe(name)}"


def outputs(job_id: str) -> str:
    """The folder of a job's finished files."""
    return f"outputs/{job_id}"


def upload(upload_id: str, name: str) -> str:
    """A film that was brought here to be worked on."""
    return f"uploads/{upload_id}/{safe(name)}"


def queued(job_id: str) -> str:
    """There while the job isn't over."""
    return f"queue/{job_id}"


def notice(notice_id: str, job_id: str) -> str:
    """Tells the controller to look at a job."""
    return f"notices/{notice_id}-{job_id}"


def lead() -> str:
    """Which controller leads."""
    return "farm/controller.json"


def status() -> str:
    """How the farm is, as its controller last saw it."""
    return "farm/status.json"


def unblock(worker: str) -> str:
    """A worker that was taken out shall get another chance."""
    return f"farm/unblock/{safe(worker)}"


def drain(worker: str) -> str:
    """A worker that shall get no more orders."""
    return f"farm/drain/{safe(worker)}"


def unit(job_id: str, step: str, chunk: int | None) -> str:
    """The folder of one step of one chunk, or of a step that sees the whole film (`chunk` None)."""
    where = "film" if chunk is None else f"chunks/{chunk:06d}"
    return f"jobs/{job_id}/{where}/{step}"


def tries(job_id: str, step: str, chunk: int | None) -> str:
    """What all tries at a unit wrote."""
    return f"{unit(job_id, step, chunk)}/try"


def attempt(job_id: str, step: str, chunk: int | None, attempt_id: str) -> str:
    """What one try at a unit wrote."""
    return f"{tries(job_id, step, chunk)}/{attempt_id}"


def done(job_id: str, step: str, chunk: int | None) -> str:
    """The record that commits a unit: which try counts."""
    return f"{unit(job_id, step, chunk)}/DONE.json"


def failures(job_id: str, step: str, chunk: int | None) -> str:
    """The folder of a unit's failure records."""
    return f"{unit(job_id, step, chunk)}/fail"


def failure(job_id: str, step: str, chunk: int | None, attempt_id: str) -> str:
    """Why one try failed."""
    return f"{failures(job_id, step, chunk)}/{attempt_id}.json"


def log(job_id: str, step: str, chunk: int | None, attempt_id: str) -> str:
    """What one try said."""
    return f"{unit(job_id, step, chunk)}/log/{attempt_id}.jsonl"
