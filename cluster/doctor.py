"""What `veilfarm doctor` says of a store: lines for a person, or one JSON object, and an exit code."""

import json

from cluster import exits
from cluster.client.answers import StoreHealth
from storage.probe import Finding, ProbeResult, Verdict

_SIGNS = {Verdict.GOOD: "ok", Verdict.LIMITED: "limited", Verdict.BAD: "BAD", Verdict.UNKNOWN: "unknown"}


def of_server(health: StoreHealth) -> ProbeResult:
    """What a server found, as if it was found here."""
    known = {verdict.value: verdict for verdict in Verdict}
    return ProbeResult(
        "", tuple(Finding(f.name, known.get(f.verdict, Verdict.UNKNOWN), f.meaning) for f in health.findings)
    )


def exit_code(result: ProbeResult) -> int:
    """DONE when a farm can use the store, else FAILED."""
    return exits.DONE if result.usable else exits.FAILED


def as_json(place: str, result: ProbeResult) -> str:
    """One line: store, usable, findings of name, verdict, meaning."""
    findings = [{"name": f.name, "verdict": f.verdict.value, "meaning": f.meaning} for f in result.findings]
    return json.dumps({"store": place, "usable": result.usable, "findings": findings}, ensure_ascii=False)


def as_lines(place: str, result: ProbeResult) -> list[str]:
    """One line per finding, and what follows of them."""
    width = max((len(each.name) for each in result.findings), default=0)
    lines = [f"{_SIGNS[each.verdict]:<8} {each.name:<{width}}  {each.meaning}" for each in result.findings]
    bad = [each.name for each in result.findings if each.verdict is Verdict.BAD]
    limited = any(each.verdict is Verdict.LIMITED for each in result.findings)
    if bad:
        return [*lines, f"A farm can't use {place} as it is: {', '.join(bad)}."]
    return [*lines, f"A farm can use {place}{', with the limits above' if limited else ''}."]
