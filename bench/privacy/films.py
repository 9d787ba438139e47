"""Clips with people in them: through the pipeline, and re-encoded only, as a measure of what measuring itself adds."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from clips import VIDEOS
from privacy import engine

from pipeline.decode import read
from pipeline.facts import FrameIndex, VideoInfo
from pipeline.link import Linked
from pipeline.picture import Picture
from pipeline.track import Track, Treatment
from pipeline.video import index, ingest

CLIPS = (
    *("asl_again.mkv", "asl_book.mkv", "asl_brother.mkv", "asl_help.mkv", "asl_learn.mkv", "asl_no.mkv"),
    *("asl_school.mkv", "asl_student.mkv", "asl_walk.mkv", "asl_yes.mkv", "callgrid_dev_3x2.mp4", "classroom.mp4"),
    *("grid_bbaf2n.mpg", "grid_brbk7n.mpg", "grid_lbax4n.mpg", "grid_lbbc2a.mpg", "grid_lrwp9a.mpg"),
    *("head-pose-face-detection-female-and-male.mp4", "head-pose-face-detection-female.mp4"),
    *("head-pose-face-detection-male.mp4", "one-by-one-person-detection.mp4", "pyfeat_single_face.mp4"),
)
MOST = 225  # frames of one clip
SECRET = b"bench privacy films"


@dataclass(frozen=True, slots=True)
class Clip:
    """A source, what became of it, and who is in it."""

    name: str
    info: VideoInfo
    index: FrameIndex
    linked: Linked
    starts: tuple[int, ...]  # the chunks' first frames
    frames: int
    segments: tuple[Path, ...]
    control: Path  # the source, re-encoded only

    def source(self) -> Iterator[Picture]:
        """The untouched pictures."""
        return read(self.info, self.index, 0, self.frames)

    def output(self) -> Iterator[Picture]:
        """With other faces."""
        return chain.from_iterable(engine.pictures(path) for path in self.segments)

    def again(self) -> Iterator[Picture]:
        """Re-encoded only."""
        return engine.pictures(self.control)

    def chunk_of(self, frame: int) -> int:
        """The number of the chunk that a frame is in."""
        return int(np.searchsorted(self.starts, frame, side="right")) - 1


def replaced(track: Track) -> np.ndarray:
    """(n,) frames of a track on which its face is replaced."""
    return np.asarray(track.frames[track.treatment == Treatment.REPLACE])


def prepared(name: str, videos: Path = VIDEOS, most: int = MOST) -> Clip:
    """The clip, taken through the pipeline where that hasn't been done yet."""
    source = videos / name
    folder = engine.place(f"clip{most}_{source.stem}", source)
    if engine.noted(folder) is None:
        folder.mkdir(parents=True, exist_ok=True)
        looked = engine.look(source, folder, most)
        linked = looked.linked(SECRET + name.encode())
        linked.save(folder / "linked.npz")
        segments = looked.render(linked, folder)
        _encode_again(looked.info.source, folder / "control.mp4", looked.chunks[-1].stop)
        starts = [c.start for c in looked.chunks]
        engine.note(
            folder,
            {"starts": starts, "frames": looked.chunks[-1].stop, "segments": [path.name for path in segments]},
        )
    facts = engine.noted(folder)
    assert facts is not None
    info = ingest(source, folder)
    return Clip(
        name,
        info,
        index(info, threads=1),
        Linked.load(folder / "linked.npz"),
        tuple(facts["starts"]),  # type: ignore[arg-type]
        int(facts["frames"]),  # type: ignore[call-overload]
        tuple(folder / n for n in facts["segments"]),  # type: ignore[attr-defined]
        folder / "control.mp4",
    )


def _encode_again(source: Path, target: Path, frames: int) -> None:
    """With the pipeline's own encoder settings."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", "-i", str(source), "-an"]
    command += ["-fps_mode", "passthrough", "-frames:v", str(frames), "-c:v", "libx264", "-crf", "18"]
    command += ["-preset", "veryfast", "-threads", "1", str(target)]
    subprocess.run(command, check=True)
