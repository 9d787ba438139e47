"""`bench/privacy`: are people unknown, does the face stay alive, and is anyone served worse?

    python bench/privacy [--people N] [--turns N] [--clips NAME ...] [--frames N] [--folds N] [--only photos|clips|cost]

Prints tables in Markdown, with goals, and writes contact sheets to bench/out/privacy. What the pipeline made is kept
there and made anew when the pipeline or a source changes. Its networks come from npm, its peer from the extra `bench`.
"""

import argparse
import sys
import time

import torch
from clips import OUT
from privacy import alive, clip_figures, cost, films, motion, photo_figures, reid, sheets, stills
from privacy.table import Goal, Row, table

FOLDER = OUT / "privacy"


def main(arguments: list[str]) -> int:
    """0 when every goal was reached, 1 otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, help="the first so many of the London Set")
    parser.add_argument("--turns", type=int, default=5, help="identities per person")
    parser.add_argument("--clips", nargs="*", default=list(films.CLIPS))
    parser.add_argument("--frames", type=int, default=films.MOST, help="of each clip at most")
    parser.add_argument("--folds", type=int, default=10, help="halves of the people that the attacker learns from")
    parser.add_argument("--only", choices=("photos", "clips", "cost"), nargs="*", default=["photos", "clips", "cost"])
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows = list[Row]()
    names = stills.people(options.people)
    originals = stills.originals(names)
    gallery = reid.known(originals)
    if "photos" in options.only:
        rows += _photos(names, originals, gallery, options)
    if "clips" in options.only:
        rows += _clips(gallery, options)
    if "cost" in options.only:
        rows += _cost()
    missed = [r.name for r in rows if r.missed]
    print(f"{sum(r.goal is not None for r in rows)} goals, {len(missed)} missed: " + "; ".join(missed))
    return 1 if missed else 0


def _say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def _show(lines: list[str]) -> None:
    print("\n".join(lines), flush=True)


def _photos(
    names: list[str], originals: list[stills.Shot], gallery: reid.Known, options: argparse.Namespace
) -> list[Row]:
    _say(f"photos of {len(names)} people, {options.turns} identities each")
    versions = {"veilfarm": stills.replaced(names, originals, options.turns)}
    _say("the same, covered, and by deface")
    versions[stills.COVER] = stills.covered(names, originals)
    versions |= {kind: stills.peer(kind, names, originals) for kind in stills.PEERS}
    versions[stills.CUT] = stills.cut_out(originals)
    _say("recognisers")
    rows, found = photo_figures.recognition(originals, versions, gallery)
    _show(table(*photo_figures.heading(gallery, versions), rows))
    _say("the adaptive attacker")
    attacked = photo_figures.adaptive(originals, versions, options.folds)
    _show(
        table(
            f"An attacker who learns, on {len(names) - len(names) // 2} people it hasn't seen",
            list(attacked[0]),
            attacked[1],
        )
    )
    _show(photo_figures.by_group(originals, versions["veilfarm"], found["veilfarm"]))
    sheets.people(originals, versions, FOLDER)
    sheets.nearest(originals, versions["veilfarm"], found["veilfarm"], FOLDER)
    return [*rows, *attacked[1]]


def _clips(gallery: reid.Known, options: argparse.Namespace) -> list[Row]:
    measured = list[motion.Measured]()
    for name in options.clips:
        _say(name)
        clip = films.prepared(name, most=options.frames)
        measured.append(motion.kept(clip))
        sheets.clip(clip, FOLDER)
    rows = clip_figures.rows(measured, gallery)
    _show(table(f"{len(measured)} clips", clip_figures.COLUMNS, rows))
    _show(clip_figures.each(measured, gallery))
    _show(alive.tracks(measured))
    peers = [c for c in clip_figures.PEER_CLIPS if c in options.clips]
    if peers:
        _say("deface on " + ", ".join(peers))
        _show(clip_figures.peers(peers, options.frames, gallery))
    return rows


def _cost() -> list[Row]:
    _say("cost of one face")
    found = cost.measure()
    goal = Goal(25, "most", "{:.0f} ms")
    title = f"One face of 1080p, {found.height:.0f} px high, on one core"
    rows = [
        Row("drawing it, wall clock", (found.milliseconds,), "{:.1f} ms", goal),
        Row("drawing it, processor time", (found.processor,), "{:.1f} ms"),
    ]
    _show(table(title, ["veilfarm"], rows))
    return rows
