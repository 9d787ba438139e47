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
jobs/{job}/film/made_by.json                    create-once: the program and models that its work was begun with
jobs/{job}/…/{step}.{edition}/…                 the same for what was made anew after reviewers' edits
jobs/{job}/edits/{try}/{version}.json           create-once: reviewers' edits of what this try at linking found
jobs/{job}/results/{round}.json                 create-once: how a round of the job ended
uploads/{id}/{name}                             films that were brought here; deleted when their job is over
outputs/{job}/{name}                            finished films whose target is the store itself
queue/{job}                                     there while the job isn't over
kept/{job}                                      there while work of a job that is over may be
notices/{id}-{job}                              this job is new or its control has changed: look
farm/controller.json                            compare-and-swap: which controller leads
farm/status.json                                how the farm is
farm/unblock/{worker}                           this worker gets another chance
farm/drain/{worker}                             this worker shall get no more orders
farm/users/{name}.json                          compare-and-swap: who may do what
farm/tokens/{id}.json                           compare-and-swap: hash of a token, whose it is, until when
farm/sessions/{id}.json                         create-once: a browser that is logged in: hash of its cookie, until when
farm/requests/{hash}.json                       compare-and-swap: which job a request with this key has made
farm/outbox/{event}.json                        create-once: a webhook that isn't delivered yet
incoming/{id}/info.json                         create-once: an upload that isn't complete, or isn't a job yet
incoming/{id}/parts/{start}-{length}            its bytes
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


def edits(job_id: str, linked: str) -> str:
    """The folder of reviewers' edits of what the try `linked` at linking found. Another try may count people in another
    way."""
    return f"jobs/{job_id}/edits/{linked}"


def all_edits(job_id: str) -> str:
    """The folder of all edits of the job."""
    return f"jobs/{job_id}/edits"


def edit_list(job_id: str, linked: str, version: int) -> str:
    """All edits that held in this version of the list."""
    return f"{edits(job_id, linked)}/{version:06d}.json"


def output(job_id: str, name: str) -> str:
    """A finished film, or its report."""
    return f"outputs/{job_id}/{safe(name)}"


def outputs(job_id: str) -> str:
    """The folder of a job's finished files."""
    return f"outputs/{job_id}"


def upload(upload_id: str, name: str) -> str:
    """A film that was brought here to be worked on."""
    return f"uploads/{upload_id}/{safe(name)}"


def upload_of(place: str) -> str:
    """The folder of the upload that a place ends with; "" where it is none."""
    found = re.search(r"/(uploads/[0-9A-HJKMNP-TV-Z]{26})/[^/]+$", place)
    return found[1] if found else ""


def queued(job_id: str) -> str:
    """There while the job isn't over."""
    return f"queue/{job_id}"


def kept(job_id: str) -> str:
    """There while work of a job that is over may be: a failed one's is kept for a retry."""
    return f"kept/{job_id}"


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


def user(name: str) -> str:
    """Who somebody is, and what they may do."""
    return f"farm/users/{name}.json"


def token(token_id: str) -> str:
    """By which somebody is known."""
    return f"farm/tokens/{token_id}.json"


def session(session_id: str) -> str:
    """A browser that is logged in."""
    return f"farm/sessions/{session_id}.json"


def request(digest: str) -> str:
    """Which job a request with an idempotency key has made."""
    return f"farm/requests/{digest}.json"


def waiting_event(event_id: str) -> str:
    """A webhook that isn't delivered yet."""
    return f"farm/outbox/{event_id}.json"


def incoming(upload_id: str) -> str:
    """The folder of an upload that isn't complete."""
    return f"incoming/{upload_id}"


def incoming_facts(upload_id: str) -> str:
    """Whose it is, its name and its length."""
    return f"incoming/{upload_id}/info.json"


def incoming_parts(upload_id: str) -> str:
    """The folder of what has come of it."""
    return f"incoming/{upload_id}/parts"


def incoming_part(upload_id: str, start: int, length: int) -> str:
    """Some of its bytes."""
    return f"incoming/{upload_id}/parts/{start:016d}-{length}"


def work(job_id: str) -> tuple[str, str]:
    """The folders of all that was done, the records of it too."""
    return f"jobs/{job_id}/chunks", f"jobs/{job_id}/film"


def chunk_folder(job_id: str, chunk: int) -> str:
    """The folder of all steps of one chunk."""
    return f"jobs/{job_id}/chunks/{chunk:06d}"


def maker(job_id: str) -> str:
    """Which program and models its work was begun with."""
    return f"jobs/{job_id}/film/made_by.json"


def unit(job_id: str, step: str, chunk: int | None, edition: str = "") -> str:
    """The folder of one step of one chunk, or of a step that sees the whole film (`chunk` None). `edition`: what it is
    after reviewers' edits; "" before any."""
    where = f"jobs/{job_id}/film" if chunk is None else chunk_folder(job_id, chunk)
    return f"{where}/{step}.{edition}" if edition else f"{where}/{step}"


def tries(job_id: str, step: str, chunk: int | None, edition: str = "") -> str:
    """What all tries at a unit wrote."""
    return f"{unit(job_id, step, chunk, edition)}/try"


def attempt(job_id: str, step: str, chunk: int | None, attempt_id: str, edition: str = "") -> str:
    """What one try at a unit wrote."""
    return f"{tries(job_id, step, chunk, edition)}/{attempt_id}"


def done(job_id: str, step: str, chunk: int | None, edition: str = "") -> str:
    """The record that commits a unit: which try counts."""
    return f"{unit(job_id, step, chunk, edition)}/DONE.json"


def failures(job_id: str, step: str, chunk: int | None, edition: str = "") -> str:
    """The folder of a unit's failure records."""
    return f"{unit(job_id, step, chunk, edition)}/fail"


def failure(job_id: str, step: str, chunk: int | None, attempt_id: str, edition: str = "") -> str:
    """Why one try failed."""
    return f"{failures(job_id, step, chunk, edition)}/{attempt_id}.json"


def logs(job_id: str, step: str, chunk: int | None, edition: str = "") -> str:
    """The folder of what tries at a unit said."""
    return f"{unit(job_id, step, chunk, edition)}/log"


def log(job_id: str, step: str, chunk: int | None, attempt_id: str, edition: str = "") -> str:
    """What one try said."""
    return f"{logs(job_id, step, chunk, edition)}/{attempt_id}.jsonl"
