"""Contact sheets: what the figures are about, to be looked at."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from privacy import instruments
from privacy.films import Clip, replaced
from privacy.reid import Found
from privacy.stills import Shot

from pipeline.look import warped
from pipeline.picture import Picture

_CELL, _GAP, _LABEL = 200, 4, 16
_INK, _PAPER = (30, 30, 30), (245, 245, 245)
_MARGIN = 1.7  # side of the square that is shown over the face's longer side


def face(picture: Picture, box: np.ndarray) -> Image.Image:
    """A square around a face's box (4,)."""
    side = float((box[2:] - box[:2]).max()) * _MARGIN
    middle = (box[:2] + box[2:]) / 2
    matrix = np.concatenate([np.eye(2) * side / _CELL, (middle - side / 2)[:, None]], 1)
    crop = warped(picture, torch.from_numpy(matrix.astype(np.float32)), _CELL)
    return Image.fromarray((crop.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))


def grid(rows: Sequence[Sequence[tuple[str, Image.Image]]], target: Path) -> None:
    """Cells with a line of text above each."""
    columns = max(len(r) for r in rows)
    step = _CELL + _GAP, _CELL + _LABEL + _GAP
    sheet = Image.new("RGB", (_GAP + columns * step[0], _GAP + len(rows) * step[1]), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for y, row in enumerate(rows):
        for x, (label, image) in enumerate(row):
            place = _GAP + x * step[0], _GAP + y * step[1]
            draw.text(place, label, _INK, font)
            sheet.paste(image, (place[0], place[1] + _LABEL))
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target)


def people(originals: list[Shot], versions: dict[str, list[Shot]], folder: Path, each: int = 6) -> None:
    """Everyone, `each` people a sheet: untouched, then the first version of every kind."""
    by_key = {(s.person, s.mood): s for s in originals}
    count = len(originals) // 2
    for start in range(0, count, each):
        rows = []
        for person in range(start, min(start + each, count)):
            row = []
            for mood in ("neutral", "smiling"):
                source = by_key[person, mood]
                box = instruments.bounds(source.mesh)
                row.append((f"{person} {mood}", face(source.picture, box)))
                for name, shots in versions.items():
                    # Of the peers' and the covers one mood is enough to see what they are.
                    if name == "veilfarm" or mood == "neutral":
                        turns = [s for s in shots if (s.person, s.mood) == (person, mood)]
                        shown = turns[: 2 if name == "veilfarm" else 1]
                        row += [(f"{name} {s.turn + 1}", face(s.picture, box)) for s in shown]
            rows.append(row)
        grid(rows, folder / f"people_{start:02d}.png")


def nearest(originals: list[Shot], shots: list[Shot], found: dict[str, Found], folder: Path, most: int = 8) -> None:
    """For each recogniser those whom it knows best: untouched photo of the other mood, of the same, replacement."""
    by_key = {(s.person, s.mood): s for s in originals}
    for name, result in found.items():
        rows = []
        for k in np.argsort(result.distances)[:most]:
            shot = shots[int(k)]
            same = by_key[shot.person, shot.mood]
            other = by_key[shot.person, "smiling" if shot.mood == "neutral" else "neutral"]
            box = instruments.bounds(same.mesh)
            text = f"{shot.person} at {result.distances[k]:.2f} of the limit"
            cells = [(text, face(other.picture, instruments.bounds(other.mesh)))]
            cells += [(shot.mood, face(same.picture, box)), (f"identity {shot.turn + 1}", face(shot.picture, box))]
            rows.append(cells)
        grid(rows, folder / f"nearest_{name.replace(' ', '_')}.png")


def clip(film: Clip, folder: Path, most: int = 8) -> None:
    """Every replaced track at evenly spaced times, source above output; covered frames are left out."""
    wanted: dict[int, list[tuple[int, np.ndarray]]] = {}
    tracks = sorted(film.linked.tracks, key=lambda t: -len(replaced(t)))[:4]
    for track in (t for t in tracks if len(replaced(t))):
        frames = replaced(track)
        for frame in frames[np.linspace(0, len(frames) - 1, most).astype(int)]:
            wanted.setdefault(int(frame), []).append((track.id, track.boxes[int(frame) - track.frames[0]]))
    above: dict[int, list[tuple[str, Image.Image]]] = {}
    below: dict[int, list[tuple[str, Image.Image]]] = {}
    for number, (before, after) in enumerate(zip(film.source(), film.output(), strict=False)):
        for track_id, box in wanted.get(number, []):
            above.setdefault(track_id, []).append((f"track {track_id} frame {number}", face(before, box)))
            below.setdefault(track_id, []).append(("", face(after, box)))
    rows = [row for track_id in above for row in (above[track_id], below[track_id])]
    if rows:
        grid(rows, folder / f"clip_{Path(film.name).stem}.png")
