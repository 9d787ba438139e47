"""What pages say, in the reader's language, from message files: `messages/LANGUAGE.json`."""

import functools
import json
import time
from pathlib import Path
from typing import Any

LANGUAGES = {"en": "English", "de": "Deutsch"}
_FOLDER = Path(__file__).parent / "messages"
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


@functools.cache
def messages(language: str) -> dict[str, str]:
    """All of one language."""
    found = json.loads((_FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def chosen(wish: str, accepted: str) -> str:
    """The language of a page: as somebody chose, else the first that their browser wants and that is there."""
    if wish in LANGUAGES:
        return wish
    for part in accepted.split(","):
        language = part.partition(";")[0].strip().partition("-")[0].lower()
        if language in LANGUAGES:
            return language
    return "en"


class Words:
    """Texts, numbers and times in one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._texts = messages(language)

    def __call__(self, key: str, /, **values: Any) -> str:
        """A text; without values, with its places as they are. One with `n` may have a form for one thing: KEY.one."""
        if values.get("n") == 1 and f"{key}.one" in self._texts:
            key = f"{key}.one"
        if "n" in values:
            values["n"] = self.number(values["n"])
        return self._texts[key].format(**values) if values else self._texts[key]

    def maybe(self, key: str, default: str) -> str:
        """A text that needn't be there."""
        return self._texts.get(key, default)

    def number(self, value: float, digits: int = 0) -> str:
        """10,000 or 10.000; short ones of four digits have no mark in neither language."""
        text = f"{value:,.{digits}f}"
        if abs(value) < 10_000:
            text = text.replace(",", "")
        return text.translate(str.maketrans(",.", ".,")) if self.language == "de" else text

    def duration(self, seconds: float) -> str:
        """42 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
        whole = max(0, round(seconds))
        if whole < 60:
            return self("time.s", s=whole)
        if whole < 3600:
            return self("time.min", m=whole // 60, s=whole % 60)
        if whole < 86400:
            return self("time.h", h=whole // 3600, m=whole % 3600 // 60)
        return self("time.d", d=whole // 86400, h=whole % 86400 // 3600)

    def roughly(self, seconds: float) -> str:
        """The same, no finer than it can be known: seconds in tens, minutes in fives from 20 on."""
        if seconds < 90:
            return self("time.s", s=max(10, round(seconds / 10) * 10))
        if seconds < 3570:
            return self("time.m", m=round(seconds / 60) if seconds < 1200 else 5 * round(seconds / 300))
        return self.duration(300 * round(seconds / 300))

    def ago(self, moment: float) -> str:
        """How long ago that was, roughly."""
        seconds = time.time() - moment
        if seconds < 10:
            return self("time.now")
        for key, size in (("d", 86400), ("h", 3600), ("min", 60)):
            if seconds >= size:
                return self(f"time.{key}.ago", n=int(seconds // size))
        return self("time.s.ago", n=int(seconds))

    def clock(self, seconds: float) -> str:
        """A place in a film: 1:02:03."""
        whole = int(max(0, seconds))
        hours = f"{whole // 3600}:{whole % 3600 // 60:02d}" if whole >= 3600 else f"{whole // 60}"
        return f"{hours}:{whole % 60:02d}"

    def size(self, count: float) -> str:
        """Bytes for people."""
        power = 0
        while count >= 1000 and power < len(_UNITS) - 1:
            count, power = count / 1000, power + 1
        return f"{self.number(count, 1 if power and count < 100 else 0)} {_UNITS[power]}"

    def moment(self, moment: float) -> str:
        """A date and a time, in UTC."""
        pattern = "%d.%m.%Y %H:%M:%S UTC" if self.language == "de" else "%Y-%m-%d %H:%M:%S UTC"
        return time.strftime(pattern, time.gmtime(moment))

    def day(self, moment: float) -> str:
        """A date, in UTC."""
        return time.strftime("%d.%m.%Y" if self.language == "de" else "%Y-%m-%d", time.gmtime(moment))

    @staticmethod
    def iso(moment: float) -> str:
        """For machines."""
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
