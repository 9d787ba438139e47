"""The pipeline in this process: films and photos in, films with other faces out. What was made is kept in bench/out
and taken again as long as neither the source nor a file of the pipeline has changed."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import torch
from clips import OUT
from PIL import Image

from pipeline import identity, planes
from pipeline.analyse import Eyes, analyse
from pipeline.analysis import ChunkAnalysis
from pipeline.checked import render_checked
from pipeline.choose import choose
from pipeline.chunk import Chunk, plan
from pipeline.encode import EncoderSettings
from pipeline.facts import FrameIndex, VideoInfo
from pipeline.identity import NobodyModel, Seed
from pipeline.link import Linked, Veil, link
from pipeline.models.blazeface import BlazeFace
from pipeline.picture import Picture
from pipeline.track import Sample
from pipeline.video import index, ingest

CPU = torch.device("cpu")
CHUNK = Fraction(2)  # seconds: short, so that even these clips have more than one
RATE = 25
_PIPELINE = Path(identity.__file__).resolve().parent
Choose = Callable[[NobodyModel, bytes, str, Sequence[Sample], Sequence[Seed], bool], Seed]


@lru_cache(maxsize=1)
def state() -> str:
    """A hash of everything that decides what the pipeline makes: its code and its models."""
    found = hashlib.sha256()
    for path in sorted([*_PIPELINE.rglob("*.py"), *_PIPELINE.glob("data/*"), Path(__file__)]):
        if path.is_file():
            found.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()[:16]


def place(name: str, *sources: Path) -> Path:
    """A folder for what is made from these files by the pipeline as it is now."""
    found = hashlib.sha256(state().encode())
    for source in sources:
        found.update(source.read_bytes())
    return OUT / "privacy" / "kept" / f"{name}_{found.hexdigest()[:12]}"


@lru_cache(maxsize=1)
def eyes() -> Eyes:
    """The pipeline's networks."""
    return Eyes.load(CPU, 1)


@lru_cache(maxsize=1)
def model() -> NobodyModel:
    """The model of nobody."""
    return identity.load()


@dataclass(frozen=True, slots=True)
class Looked:
    """A film that was analysed."""

    info: VideoInfo
    index: FrameIndex
    chunks: tuple[Chunk, ...]
    analyses: tuple[ChunkAnalysis, ...]

    def linked(self, secret: bytes, veil: Veil = "nobody", how: Choose = choose) -> Linked:
        """Who gets which face."""
        return link(self.analyses, self.index, veil=veil, secret=secret, model=model(), choose=how)

    def render(self, linked: Linked, folder: Path) -> list[Path]:
        """The segments, each passed by the leak gate."""
        settings = EncoderSettings.for_source(self.info)
        made = []
        for chunk, analysis in zip(self.chunks, self.analyses, strict=True):
            target = folder / f"segment{chunk.index}.nut"
            render_checked(
                self.info, self.index, chunk, analysis, linked, model(), settings, target, detector=_gate(), device=CPU
            )  # fmt: skip
            made.append(target)
        return made


@lru_cache(maxsize=1)
def _gate() -> BlazeFace:
    return BlazeFace(CPU, threads=1, finest=2.0)


def look(film: Path, work: Path, most: int | None = None) -> Looked:
    """Analyse a film, or its first `most` frames."""
    info = ingest(film, work)
    times = index(info, threads=1)
    chunks = plan(times, target=CHUNK, last=min(most or len(times), len(times)))
    return Looked(info, times, chunks, tuple(analyse(info, times, chunk, device=CPU, eyes=eyes()) for chunk in chunks))


def pictures(path: Path) -> Iterator[Picture]:
    """All frames of any film, as the pipeline has them."""
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            layout = planes.layout_of(frame.format, frame.width, frame.height, frame.colorspace, frame.color_range)
            yield Picture(number, frame.pts or 0, planes.from_frame(planes.in_layout(frame, layout), layout), layout)


def write_film(images: Sequence[Image.Image], path: Path) -> None:
    """A film of these pictures, nearly without loss; their sides are cut to even lengths."""
    width, height = images[0].width // 2 * 2, images[0].height // 2 * 2
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "6", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for image in images:
            frame = av.VideoFrame.from_image(image.convert("RGB").crop((0, 0, width, height)))  # type: ignore[no-untyped-call]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def note(folder: Path, facts: dict[str, object]) -> None:
    """Mark a folder as whole: what it holds may be taken again."""
    (folder / "facts.json").write_text(json.dumps(facts))


def noted(folder: Path) -> dict[str, object] | None:
    """What was noted of a folder, or None when it isn't whole."""
    path = folder / "facts.json"
    return json.loads(path.read_text()) if path.exists() else None
