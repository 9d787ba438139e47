"""The first promise, over HTTP: no request has room for a real person's face.

Whoever adds a parameter, a header or a field adds it here, and answers the question.
"""

from typing import Any

from cluster.api.app import create

DOCUMENT = create(None).openapi()

PARAMETERS = {
    "job": "an id",
    "upload_id": "an id",
    "token_id": "an id",
    "name": "a name of a worker or a user",
    "state": "words",
    "owner": "a filter",
    "team": "a filter",
    "q": "a filter",
    "limit": "a number",
    "offset": "a number",
    "cursor": "an id",
    "step": "a word",
    "chunk": "a number",
    "seconds": "a number",
    "redirect": "a switch",
    "check": "a switch",
    "Idempotency-Key": "a text that is hashed",
    "Range": "numbers",
    "If-Range": "a version",
    "If-None-Match": "a version",
    "If-Match": "a version",
    "edit_id": "an id",
    "person": "a number",
    "track": "a number",
    "Last-Event-ID": "a number",
    "Tus-Resumable": "a version",
    "Upload-Length": "a number",
    "Upload-Offset": "a number",
    "Upload-Metadata": "the film's name",
    "Content-Type": "a word",
}

BODIES = {
    "NewJob": {
        "upload": "an id",
        "source": "the film whose faces go",
        "job": "an id",
        "name": "the film's name",
        "to": "where the result goes",
        "veil": "one of three words",
        "quality": "encoder",
        "codec": "encoder",
        "drop_dynamic_hdr": "a switch",
        "convert_audio": "a switch",
        "convert_subtitles": "a switch",
        "copy_clean": "a switch",
        "start": "a time",
        "stop": "a time",
        "device": "one of three words",
        "overwrite": "a switch",
        "priority": "a number",
        "limit": "a number",
        "deadline": "a number",
        "after": "ids",
        "review": "a switch",
    },
    "NewEdit": {
        "kind": "one of seven words; another face is the seed's next",
        "person": "a number",
        "into": "a number",
        "tracks": "numbers",
        "track": "a number",
        "frame": "a number",
        "box": "four numbers: where a face is to be covered",
        "reason": "a note for the report",
    },
    "JobChange": {"priority": "a number", "limit": "a number", "deadline": "a number"},
    "NewUser": {"name": "a name", "role": "one of four words", "team": "a name"},
    "UserChange": {"role": "one of four words", "team": "a name", "disabled": "a switch"},
    "NewToken": {"label": "a note", "days": "a number"},
}

FILES = {("patch", "/v1/uploads/{upload_id}"): "the film whose faces go"}


def operations() -> list[tuple[str, str, Any]]:
    return [
        (method, path, operation)
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_parameter_is_known() -> None:
    found = {each["name"] for _, _, operation in operations() for each in operation.get("parameters", ())}
    assert found == set(PARAMETERS)


def test_every_body_is_known_and_has_no_unknown_fields() -> None:
    found, files = set(), set()
    for method, path, operation in operations():
        for media, content in operation.get("requestBody", {}).get("content", {}).items():
            if media == "application/json":
                found.add(content["schema"]["$ref"].rpartition("/")[2])
            else:
                files.add((method, path))
    assert found == set(BODIES)
    assert files == set(FILES)
    for name, fields in BODIES.items():
        schema = DOCUMENT["components"]["schemas"][name]
        assert set(schema["properties"]) == set(fields), name
        assert schema["additionalProperties"] is False, name
