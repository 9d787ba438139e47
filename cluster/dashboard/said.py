"""What became of a form, told on the page that comes after it: `WHAT.DONE.LEFT` in a cookie of a few seconds."""

import re
from typing import Any

from fastapi import Request, Response

from cluster.dashboard.words import Words

COOKIE = "veilfarm_said"
_FORM = re.compile(r"([a-z]{1,20})\.(\d{1,6})\.(\d{1,6})")


def say(answer: Response, what: str, done: int = 1, left: int = 0) -> Response:
    """Let the next page tell."""
    answer.set_cookie(COOKIE, f"{what}.{done}.{left}", 20, httponly=True, samesite="strict")
    return answer


def heard(request: Request, t: Words) -> dict[str, Any] | None:
    """What is to be told; None for nothing."""
    match = _FORM.fullmatch(request.cookies.get(COOKIE, ""))
    if match is None or not t.maybe(f"did.{match[1]}", ""):
        return None
    done, left = int(match[2]), int(match[3])
    parts = [t(f"did.{match[1]}", n=done)] if done else []
    return {"text": " ".join(parts + ([t("did.left", n=left)] if left else [])), "bad": not done}
