"""Structured logs: one JSON object a line."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from cluster import log

LOG = logging.getLogger("cluster.test")


@pytest.fixture(autouse=True)
def root() -> Iterator[None]:
    """Whatever is done to logging is undone."""
    top = logging.getLogger()
    before = top.handlers[:], top.level
    yield
    top.handlers[:], top.level = before


def said(lines: log.Lines) -> list[dict[str, object]]:
    return [json.loads(each) for each in lines.text().splitlines()]


def test_each_line_says_to_what_it_belongs() -> None:
    with log.captured(job="J", unit="render of chunk 3") as lines:
        LOG.info("%d frames\nare done", 5, extra={"seconds": 1.5})
        LOG.debug("nobody wants to know")
    LOG.info("later")
    (line,) = said(lines)
    assert line["text"] == "5 frames\nare done"
    assert (line["job"], line["unit"], line["seconds"]) == ("J", "render of chunk 3", 1.5)
    assert (line["level"], line["logger"]) == ("info", "cluster.test")
    assert str(line["at"]).endswith("+00:00")


def test_errors_come_with_their_stack() -> None:
    with log.captured() as lines:
        try:
            raise ValueError("no")
        except ValueError:
            LOG.exception("it failed")
    (line,) = said(lines)
    assert "ValueError: no" in str(line["trace"])


def test_a_try_that_says_too_much_is_cut_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MOST_LINES", 10)
    with log.captured() as lines:
        for number in range(100):
            LOG.info("%d", number)
    texts = [str(line["text"]) for line in said(lines)]
    assert texts == ["0", "1", "2", "3", "4", "90 lines are left out here", "95", "96", "97", "98", "99"]


def test_who_logs_nonsense_does_not_fail_for_it() -> None:
    logging.getLogger().handlers.clear()
    with log.captured() as lines:
        LOG.info("%d frames", "many")
        LOG.info("fine")
    assert [line["text"] for line in said(lines)] == ["fine"]


def test_levels_are_as_before() -> None:
    top = logging.getLogger()
    top.setLevel(logging.WARNING)
    with log.captured() as lines:
        LOG.info("heard")
    assert top.level == logging.WARNING
    assert len(said(lines)) == 1


def test_what_has_no_json_form_is_told_as_text() -> None:
    stream = io.StringIO()
    log.to_stream(stream)
    LOG.warning("x", extra={"path": sys})
    assert "module" in json.loads(stream.getvalue())["path"]
