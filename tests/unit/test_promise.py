"""The first promise: there is no way in for a real person's face, by option, by file or by record.

Whoever adds an option or a field adds it here, and answers the question.
"""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from cluster import config, job, manifest, workers
from cluster.commands import app
from cluster.edits import EditList
from pipeline import edits

_STORE = {"store": "the farm's store", "server": "an address", "token_file": "a file with a token"}
_JOB = {**_STORE, "job": "an id"}
_JOBS = {**_STORE, "names": "ids"}

OPTIONS = {
    "swap": {
        "inputs": "the films whose faces go",
        "output": "where the result goes",
        "veil": "one of three words",
        "seed_key": "a file of random bytes: the seed of an HMAC",
        "quality": "encoder",
        "codec": "encoder",
        "drop_dynamic_hdr": "a switch",
        "convert_audio": "a switch",
        "convert_subtitles": "a switch",
        "copy_clean": "a switch",
        "start": "a time",
        "stop": "a time",
        "workers": "a number",
        "device": "one of three words",
        "as_json": "a switch",
        "report_file": "a file that is written",
        "overwrite": "a switch",
        "resume": "a switch",
        "work": "a folder that is written",
        "debug": "a switch",
    },
    "demo": {
        "out": "a folder that is written",
        "seconds": "a number",
        "seed": "a number",
        "workers": "a number",
        "as_json": "a switch",
        "debug": "a switch",
    },
    "sheet": {
        "before": "a film that is looked at",
        "after": "a film that is looked at",
        "output": "a picture that is written",
        "columns": "a number",
        "rows": "a number",
        "width": "a number",
    },
    "doctor": {**_STORE, "as_json": "a switch"},
    "verify": {
        "source": "a film that is looked at",
        "output": "a film that is looked at",
        "start": "a time",
        "stop": "a time",
        "as_json": "a switch",
    },
    "completion": {"shell": "one of three words"},
    "serve": {
        "store": "the farm's store",
        "ray": "an address",
        "workers": "a number",
        "device": "one of three words",
        "threads": "a number",
        "gpu_share": "a number",
        "leave_file": "a file whose presence counts",
        "autoscale": "a number",
        "grace": "a number",
        "steady_chunks": "a switch",
        "review_days": "a number",
        "listen": "an address",
        "no_listen": "a switch",
        "allow": "folders and buckets of films",
        "webhook": "addresses that are told of jobs",
        "webhook_secret": "a file with the key of an HMAC",
        "debug": "a switch",
    },
    "submit": {
        **_STORE,
        "inputs": "the films whose faces go",
        "manifest_file": "a list of films whose faces go, and of options that are here, too",
        "to": "where the result goes",
        "veil": "one of three words",
        "seed_key": "a file of random bytes: the seed of an HMAC",
        "quality": "encoder",
        "codec": "encoder",
        "drop_dynamic_hdr": "a switch",
        "convert_audio": "a switch",
        "convert_subtitles": "a switch",
        "copy_clean": "a switch",
        "start": "a time",
        "stop": "a time",
        "device": "one of three words",
        "priority": "a number",
        "limit": "a number",
        "after": "ids of jobs",
        "deadline": "a number",
        "owner": "whose job it is",
        "name": "the film's name",
        "job": "an id",
        "overwrite": "a switch",
        "review": "a switch",
        "wait": "a switch",
        "as_json": "a switch",
    },
    "workers": {**_STORE, "drain": "names", "undrain": "names", "unblock": "names", "as_json": "a switch"},
    "token": {
        **_STORE,
        "user": "a name",
        "role": "one of four words",
        "team": "a name",
        "days": "a number",
        "label": "a note",
        "show": "a switch",
        "revoke": "ids",
    },
    "jobs": {
        **_STORE,
        "state": "words",
        "owner": "a filter",
        "name": "a filter",
        "limit": "a number",
        "as_json": "a switch",
    },
    "show": {**_JOB, "as_json": "a switch"},
    "people": {**_JOB, "as_json": "a switch"},
    "edits": {**_JOB, "undo": "an id", "seen": "a version", "as_json": "a switch"},
    "edit": {
        **_JOB,
        "kind": "one of seven words",
        "person": "a number",
        "into": "a number",
        "tracks": "numbers",
        "track": "a number",
        "frame": "a number",
        "box": "four numbers",
        "reason": "a note",
        "seen": "a version",
        "as_json": "a switch",
    },
    "mend": _JOBS,
    "approve": {**_JOBS, "seen": "a version"},
    "watch": {**_JOBS, "as_json": "a switch"},
    "report": _JOB,
    "logs": {**_JOB, "unit": "a step and a number"},
    "fetch": {**_JOB, "output": "a file that is written", "overwrite": "a switch"},
    "priority": {**_JOBS, "value": "a number"},
    **dict.fromkeys(("pause", "resume", "cancel", "retry", "erase"), _JOBS),
    None: {"version": "a switch"},
}

RECORDS: dict[type, set[str]] = {
    config.Request: {
        *("inputs", "output", "veil", "seed_key", "quality", "codec", "start", "stop", "workers", "device", "report"),
        *("overwrite", "resume", "work", "drop_dynamic_hdr", "convert_audio", "convert_subtitles", "copy_clean"),
    },
    job.JobSpec: {
        *("source", "target", "veil", "encoding", "start", "stop", "device", "key_fingerprint"),
        *("made_by", "publish", "version"),
    },
    job.Source: {"place", "bytes", "version"},
    job.Publish: {"name", "overwrite"},
    job.Encoding: {
        *("codec", "crf", "crf_offset", "preset", "drop_dynamic_hdr", "convert_audio", "convert_subtitles"),
        "copy_clean",
    },
    job.Moment: {"seconds", "frame"},
    workers.Order: {"store", "job", "unit", "attempt", "secret", "sharers", "lean", "chunk_frames", "edits"},
    edits.Edit: {
        *("id", "kind", "who", "at", "person", "into", "tracks", "track", "frame", "box", "reason", "made"),
    },
    EditList: {"version", "edits", "at", "who", "what", "approved"},
    workers.Setup: {"spec", "source", "film", "index", "device", "threads", "secret", "lean", "chunk_frames"},
}


def commands() -> dict[str | None, Any]:
    root: Any = typer.main.get_command(app)
    return {None: root, **root.commands}


def test_every_command_and_option_is_known() -> None:
    found = {
        name: {parameter.name for parameter in command.params if parameter.name != "help"}
        for name, command in commands().items()
    }
    assert found == {name: set(options) for name, options in OPTIONS.items()}


@pytest.mark.parametrize("record", RECORDS, ids=lambda kind: kind.__name__)
def test_no_record_on_the_way_in_has_room_for_a_face(record: type) -> None:
    assert {field.name for field in dataclasses.fields(record)} == RECORDS[record]


def test_a_veil_is_one_of_three() -> None:
    assert {veil.value for veil in job.Veil} == {"nobody", "mosaic", "solid"}


def test_the_environment_that_is_read_names_the_farm() -> None:
    """Of this project, that is; what Ray, the store and the system read has no faces."""
    options = [parameter for command in commands().values() for parameter in command.params]
    assert {parameter.name for parameter in options if getattr(parameter, "envvar", None)} == {"store"}
    folder = Path(config.__file__).parent
    for source in sorted(folder.rglob("*.py")):
        text, name = source.read_text(encoding="utf-8"), str(source.relative_to(folder))
        if name == "ways/settings.py":
            found = set(re.findall(r"VEILFARM_[A-Z_]+|XDG_[A-Z_]+", text))
            assert found == {
                *("VEILFARM_STORE", "VEILFARM_SERVER", "VEILFARM_TOKEN", "VEILFARM_TOKEN_FILE", "VEILFARM_CONFIG"),
                *("XDG_CONFIG_HOME", "XDG_CACHE_HOME"),
            }
            continue
        assert "getenv" not in text, name
        assert "environ[" not in text, name
        assert "environ.get" not in text, name


def test_a_line_of_a_list_has_no_room_for_a_face() -> None:
    assert set(manifest.COLUMNS) == {
        *("source", "to", "veil", "quality", "codec", "from", "until", "device", "priority", "limit", "deadline"),
        *("after", "owner", "name", "id", "overwrite", "review"),
        *("drop_dynamic_hdr", "convert_audio", "convert_subtitles", "copy_clean"),
    }


PAGES = Path(config.__file__).parent / "dashboard"
FIELDS = {
    "csrf": "a mark against other sites' forms",
    "mark": "the same, before there is a session",
    "next": "a page to go on to",
    "back": "a page to go on to",
    "token": "who logs in",
    "state": "one of seven words",
    "owner": "a filter",
    "q": "a filter",
    "job": "ids",
    "worker": "a name",
    "do": "one of some words",
    "priority": "a number",
    "by": "what colours show",
    "name": "what a user is called",
    "user": "what a user is called",
    "role": "one of four words",
    "team": "a name",
    "label": "a note",
    "days": "a number",
    "kind": "what an edit does: one of seven words",
    "person": "numbers of people",
    "into": "a number of a person",
    "tracks": "numbers of appearances",
    "reason": "a note",
    "tag": "which version of the edits was seen",
    "edit": "an id",
    "frame": "a number",
    "{{ name }}": "edges of a box, in numbers; or one of the above again",
}


def test_no_form_of_a_page_has_room_for_a_face() -> None:
    """What is brought there is a film, by the API's uploads."""
    text = "".join(page.read_text(encoding="utf-8") for page in sorted(PAGES.rglob("*.html")))
    fields = re.findall(r"<(?:input|select|button|textarea)\b[^>]*?\sname=\"([^\"]+)\"", text)
    assert set(fields) == set(FIELDS)
    files = re.findall(r"<input[^>]*type=\"file\"[^>]*>", text)
    assert len(files) == 1
    assert 'accept="video/*' in files[0]
    scripts = "".join(page.read_text(encoding="utf-8") for page in sorted(PAGES.rglob("*.js")))
    assert set(re.findall(r"/v1/[a-z]+", scripts)) == {"/v1/uploads", "/v1/jobs"}
    assert "const wish = { upload, veil:" in scripts
