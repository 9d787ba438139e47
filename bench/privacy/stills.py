"""People of the London Set, neutral and smiling, with other faces: photos as films of one frame.

A person's identity is chosen on the neutral photo, which also says what their shape at rest is, and laid on both. Each
person gets several identities, each from a secret of its own. What was never touched is the gallery.
"""

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from clips import OUT, VIDEOS
from PIL import Image
from privacy import engine, instruments
from privacy.instruments import Floats, View

from pipeline.identity import Seed
from pipeline.link import Linked
from pipeline.look import look
from pipeline.models import topology
from pipeline.models.centerface import CenterFace
from pipeline.picture import Picture, PixelLayout, write_rgb
from pipeline.track import Treatment

LONDON = VIDEOS.parent / "london"
MOODS = ("neutral", "smiling")
PEERS = {"deface mosaic": ["--replacewith", "mosaic"], "deface blur": ["--replacewith", "blur"]}
COVER, CUT = "veilfarm mosaic", "face cut out"


@dataclass(slots=True)
class Shot:
    """One photo, untouched or not."""

    person: int  # place among the people
    mood: str
    turn: int  # which of the person's identities; 0 for what has only one version
    picture: Picture
    mesh: Floats  # (468, 3) px; of the untouched photo, where none can be found on this one
    seen: bool  # whether landmarks were found on this very picture
    replaced: bool = True  # not covered
    looks: dict[str, Floats] = field(default_factory=dict)  # descriptors by recogniser, filled by `describe`

    def view(self, bare: bool = False, mirrored: bool = False) -> View:
        """As recognisers are shown it."""
        return View(self.picture, self.mesh, bare, mirrored)


def people(most: int | None = None) -> list[str]:
    """The numbers of the people of whom both photos are there."""
    found = sorted(path.name[:3] for path in LONDON.glob("*_neutral.jpg"))
    return [p for p in found if (LONDON / f"{p}_smiling.jpg").exists()][:most]


def photo(name: str, mood: str) -> Image.Image:
    """The untouched photo, cut to even sides as films are."""
    image = Image.open(LONDON / f"{name}_{mood}.jpg").convert("RGB")
    return image.crop((0, 0, image.width // 2 * 2, image.height // 2 * 2))


def as_picture(image: Image.Image) -> Picture:
    """In full colour resolution, without loss but rounding."""
    rgb = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255
    height, width = rgb.shape[1:]
    planes = [torch.zeros(height, width, dtype=torch.uint8) for _ in range(3)]
    made = Picture(0, 0, (planes[0], planes[1], planes[2]), PixelLayout(width, height, 8, 0, 0, "bt709", True))
    write_rgb(made, (0, 0, width, height), rgb, torch.ones(height, width))
    return made


def originals(names: list[str]) -> list[Shot]:
    """The untouched photos, in the order of people, then moods."""
    detector, shots = CenterFace(engine.CPU), list[Shot]()
    for person, name in enumerate(names):
        for mood in MOODS:
            image = photo(name, mood)
            picture = as_picture(image)
            found = detector.detect(torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255)
            mesh, _ = instruments.meshes([picture], found.boxes[:1])
            shots.append(Shot(person, mood, 0, picture, mesh[0], True))
    return shots


def _shot(source: Shot, image: Image.Image, turn: int = 0, replaced: bool = True) -> Shot:
    """A changed photo: its landmarks are looked for where the untouched one's are."""
    picture = as_picture(image)
    mesh, presence = instruments.meshes([picture], instruments.bounds(source.mesh)[None])
    seen = bool(presence[0] >= instruments.PRESENT)
    return Shot(source.person, source.mood, turn, picture, mesh[0] if seen else source.mesh, seen, replaced)


def replaced(names: list[str], sources: list[Shot], turns: int) -> list[Shot]:
    """Every photo with each of its person's `turns` identities."""
    by_key = {(s.person, s.mood): s for s in sources}
    shots = list[Shot]()
    for person, name in enumerate(names):
        folder = engine.place(f"still_{name}", *(LONDON / f"{name}_{mood}.jpg" for mood in MOODS))
        facts = _made(name, folder, turns)
        for turn in range(turns):
            for mood in MOODS:
                image = Image.open(folder / f"{mood}_{turn}.png").convert("RGB")
                shots.append(_shot(by_key[person, mood], image, turn, bool(facts[f"{mood}_{turn}"])))
    return shots


def covered(names: list[str], sources: list[Shot]) -> list[Shot]:
    """Every photo under Veilfarm's own mosaic."""
    shots = list[Shot]()
    for source in sources:
        name = names[source.person]
        path = engine.place(f"cover_{name}", LONDON / f"{name}_{source.mood}.jpg") / "mosaic.png"
        if not path.exists():
            with tempfile.TemporaryDirectory() as work:
                looked = _looked(name, source.mood, Path(work))
                segment = looked.render(looked.linked(_secret(name, 0), "mosaic"), Path(work))[0]
                path.parent.mkdir(parents=True, exist_ok=True)
                _first(segment).save(path)
        shots.append(_shot(source, Image.open(path).convert("RGB"), replaced=False))
    return shots


def cut_out(sources: list[Shot]) -> list[Shot]:
    """The untouched photos with the face itself painted grey: what hair, ears, neck and the face's outline tell alone,
    which no replacing of faces takes away."""
    shots = list[Shot]()
    for source in sources:
        layout = source.picture.layout
        oval = source.mesh[topology.ring("oval"), :2]
        inside = torch.from_numpy(instruments.inside(oval, layout.height, layout.width))
        y, cb, cr = (torch.where(inside, torch.full_like(p, 128), p) for p in source.picture.planes)
        picture = replace(source.picture, planes=(y, cb, cr))
        shots.append(Shot(source.person, source.mood, 0, picture, source.mesh, False, False))
    return shots


def _secret(name: str, turn: int) -> bytes:
    return hashlib.sha256(f"bench privacy {name} {turn}".encode()).digest()


def _looked(name: str, mood: str, work: Path) -> engine.Looked:
    film = work / f"{mood}.mp4"
    engine.write_film([photo(name, mood)], film)
    return engine.look(film, work)


def _made(name: str, folder: Path, turns: int) -> dict[str, object]:
    """What is in the folder of a person, made where it lacks: for every photo whether it was replaced."""
    facts = engine.noted(folder) or {}
    if all(f"{MOODS[-1]}_{turn}" in facts for turn in range(turns)):
        return facts
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        looked = {mood: _looked(name, mood, work) for mood in MOODS}
        for turn in range(turns):
            chosen = looked["neutral"].linked(_secret(name, turn))
            for mood in MOODS:
                linked = chosen if mood == "neutral" else _as_chosen(looked[mood], chosen)
                _first(looked[mood].render(linked, work)[0]).save(folder / f"{mood}_{turn}.png")
                kinds = [int(t) for track in linked.tracks for t in track.treatment]
                facts[f"{mood}_{turn}"] = int(bool(kinds) and all(k == Treatment.REPLACE for k in kinds))
    engine.note(folder, facts)
    return facts


def _as_chosen(looked: engine.Looked, chosen: Linked) -> Linked:
    """The other photo with the identity that was chosen on the neutral one, and with the person's shape at rest from
    there: in a film of one smiling frame the smile itself would be taken for the person's own shape."""
    (person,) = chosen.people
    if person.identity is None:
        return looked.linked(b"", "mosaic")
    linked = looked.linked(b"", how=lambda *_: person.identity or Seed(b""))
    return replace(linked, people=tuple(replace(p, neutral=person.neutral) for p in linked.people))


def _first(segment: Path) -> Image.Image:
    picture = next(engine.pictures(segment))
    layout = picture.layout
    rgb = look(picture, (0, 0, layout.width, layout.height), layout.width, layout.height)
    return Image.fromarray((rgb.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))


def peer(kind: str, names: list[str], sources: list[Shot]) -> list[Shot]:
    """Every photo as deface makes it, with its default options but for what it covers with."""
    folder = OUT / "privacy" / "kept" / kind.replace(" ", "_")
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {(s.person, s.mood): folder / f"{names[s.person]}_{s.mood}.png" for s in sources}
    lacking = {key: path for key, path in wanted.items() if not path.exists()}
    if lacking:
        with tempfile.TemporaryDirectory() as place:
            for (person, mood), path in lacking.items():
                photo(names[person], mood).save(Path(place) / path.name)
            command = [str(Path(sys.executable).parent / "deface"), *PEERS[kind]]
            command += [str(Path(place) / path.name) for path in lacking.values()]
            subprocess.run(command, check=True, capture_output=True)
            for path in lacking.values():
                Image.open(Path(place) / f"{path.stem}_anonymized.png").save(path)
    return [_shot(s, Image.open(wanted[s.person, s.mood]).convert("RGB"), replaced=False) for s in sources]


def describe(shots: list[Shot], bare: bool = False, mirrored: bool = False) -> dict[str, Floats]:
    """Descriptors (n, d) of all shots by recogniser."""
    parts = [instruments.describe([s.view(bare, mirrored) for s in batch]) for batch in _batches(shots)]
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def _batches(shots: list[Shot]) -> Iterator[list[Shot]]:
    for start in range(0, len(shots), 16):
        yield shots[start : start + 16]
