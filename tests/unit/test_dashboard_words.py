"""The pages' messages: both languages have all of them, with the same places."""

import json
import re
from pathlib import Path

import pytest

import cluster.dashboard
from cluster.dashboard.words import LANGUAGES, Words, chosen, messages

FOLDER = Path(cluster.dashboard.__file__).parent


def test_all_languages_say_the_same() -> None:
    first = messages("en")
    for language in LANGUAGES:
        other = messages(language)
        assert list(other) == list(first), language
        for key, text in other.items():
            assert _places(text) == _places(first[key]), f"{language}: {key}"


def _places(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def test_every_message_is_used_and_there() -> None:
    used = "".join(
        path.read_text(encoding="utf-8") for kind in ("*.html", "*.py") for path in sorted(FOLDER.rglob(kind))
    )
    named = set(re.findall(r"""\bt(?:\.maybe)?\(\s*['"]([\w.]+)['"]\s*[,)]""", used))
    assert named <= set(messages("en"))
    assert len(named) > 40


def test_files_are_plain_json() -> None:
    for path in (FOLDER / "messages").iterdir():
        pairs = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=list)
        keys = [key for key, _ in pairs]
        assert len(keys) == len(set(keys)), path.name


@pytest.mark.parametrize(
    ("wish", "accepted", "language"),
    [("", "de-AT,de;q=0.9,en;q=0.8", "de"), ("en", "de", "en"), ("xx", "fr,es", "en"), ("", "", "en")],
)
def test_the_reader_chooses(wish: str, accepted: str, language: str) -> None:
    assert chosen(wish, accepted) == language


def test_numbers_and_times() -> None:
    english, german = Words("en"), Words("de")
    assert english.number(12345.6, 1) == "12,345.6"
    assert german.number(12345.6, 1) == "12.345,6"
    assert english("jobs.count", n=1) == "1 job"
    assert german("jobs.count", n=10_000) == "10.000 Aufträge"
    assert [english.duration(each) for each in (0.4, 61, 3720, 90_000)] == ["0 s", "1 min 1 s", "1 h 2 min", "1 d 1 h"]
    assert english.size(1_500_000_000) == "1.5 GB"
    assert english.clock(3725) == "1:02:05"
