"""What can go wrong between a client and a farm's server, as one tree.

    ClientError
    ├── Unusable              the address, the token or a file of this side isn't as it must be; nothing was sent
    ├── Unreachable           nobody answers, or the connection broke, also when it was tried again
    ├── BadAnswer             an answer that isn't one of this API: another server, another version
    ├── Damaged               what came isn't what was announced: its size, its hash
    ├── Refused               the server understood, and won't
    │   ├── NotAuthenticated      401
    │   ├── Forbidden             403
    │   ├── NoSuchThing           404
    │   ├── Clash                 409, 412, 423: not in this state, or somebody was first
    │   ├── TooLarge              413
    │   ├── Invalid               400, 415, 416, 422
    │   └── TooMany               429
    └── ServerTrouble         5xx
        └── NotAvailable          503: not now

None of them holds a token, a header or a query.
"""


class ClientError(Exception):
    """One line for a person: what happened, why, and what to do about it."""

    def __init__(self, what: str, why: str = "", todo: str = "") -> None:
        self.what, self.why, self.todo = what, why, todo
        super().__init__("; ".join(part for part in (what, why, todo) if part))


class Unusable(ClientError):
    """Something on this side isn't as it must be; nothing was sent."""


class Unreachable(ClientError):
    """Nobody answers, or the connection broke."""


class BadAnswer(ClientError):
    """An answer that isn't one of this API."""


class Damaged(ClientError):
    """What came isn't what was announced."""


class Answered(ClientError):
    """The server answered with a problem. `status`: of HTTP; `wait`: seconds that it asks for, None for no word."""

    def __init__(self, what: str, why: str = "", todo: str = "", *, status: int = 0, wait: float | None = None) -> None:
        super().__init__(what, why, todo)
        self.status, self.wait = status, wait


class Refused(Answered):
    """The server understood, and won't."""


class NotAuthenticated(Refused):
    """401"""


class Forbidden(Refused):
    """403"""


class NoSuchThing(Refused):
    """404"""


class Clash(Refused):
    """409, 412, 423: not in this state, or somebody was first."""


class TooLarge(Refused):
    """413"""


class Invalid(Refused):
    """400, 415, 416, 422"""


class TooMany(Refused):
    """429"""


class ServerTrouble(Answered):
    """5xx"""


class NotAvailable(ServerTrouble):
    """503: not now."""


_KINDS: dict[int, type[Answered]] = {
    401: NotAuthenticated,
    403: Forbidden,
    404: NoSuchThing,
    409: Clash,
    412: Clash,
    413: TooLarge,
    423: Clash,
    429: TooMany,
    400: Invalid,
    415: Invalid,
    416: Invalid,
    422: Invalid,
    503: NotAvailable,
}
_TODO: dict[type[Answered], str] = {
    NotAuthenticated: "give a token that counts, by VEILFARM_TOKEN or --token-file",
    TooMany: "ask again later",
    NotAvailable: "ask again later",
}


def kind_of(status: int) -> type[Answered]:
    """Which error an HTTP status is."""
    return _KINDS.get(status, ServerTrouble if status >= 500 else Refused)


def of_problem(status: int, problem: object, wait: float | None = None) -> Answered:
    """The error of an answer; `problem`: its problem+json, or anything else."""
    kind = kind_of(status)
    facts = problem if isinstance(problem, dict) else {}
    said = facts.get("detail") or facts.get("title") or f"the server answers {status}"
    # It may quote names of films and words of reviewers, and goes to a terminal.
    line = "".join(letter if letter.isprintable() else " " for letter in str(said)[:2000])
    parts = line.split("; ", 2)
    what, why, todo = (*parts, "", "", "")[:3]
    errors = facts.get("errors")
    if isinstance(errors, list) and errors:
        found = [f"{e.get('where', '')}: {e.get('what', '')}"[:300] for e in errors[:3] if isinstance(e, dict)]
        why = ", ".join(found) + (f" and {len(errors) - 3} more" if len(errors) > 3 else "")
    return kind(what, why, todo or _TODO.get(kind, ""), status=status, wait=wait)
