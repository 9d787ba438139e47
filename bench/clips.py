"""Clips that benchmarks need, made from the test clips by ffmpeg, and the boxes that come with those."""

import json
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np

VIDEOS = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "videos"
OUT = Path(__file__).resolve().parent / "out"
TALKER = "grid_bbaf2n.mpg"  # one person who speaks into the camera


def ffmpeg(*arguments: str) -> None:
    """Run the bundled ffmpeg; its output only when it fails."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *arguments]
    subprocess.run(command, check=True)


def talker(videos: Path, seconds: int, width: int, height: int) -> Path:
    """The talker, enlarged to the size and repeated to the length, with sound."""
    target = OUT / f"talker_{width}x{height}_{seconds}s.mp4"
    if not target.exists():
        OUT.mkdir(exist_ok=True)
        # As high as the picture, as a camera frames a speaker; the plain wall goes on to both sides.
        inner = height * 5 // 4 // 2 * 2
        side = (width - inner) // 2
        scale = (
            f"scale={inner}:{height}:flags=lanczos,pad={width}:{height}:{side}:0,fillborders={side}:{side}:0:0:smear"
        )
        scale += ",setsar=1"
        part = target.with_suffix(".part.mp4")
        ffmpeg(
            *("-stream_loop", "-1", "-i", str(videos / TALKER), "-t", str(seconds), "-vf", scale, "-r", "25"),
            *("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-g", "50", "-c:a", "aac", str(part)),
        )
        part.rename(target)
    return target


def truth(video: Path) -> list[np.ndarray] | None:
    """(N, 4) xyxy px of the faces of each frame, or None where the clip has no boxes."""
    facts = json.loads(video.with_name(video.name + ".gt.json").read_text())
    if "faces_per_frame" not in facts:
        return None
    boxes = [np.array([f["box"] for f in frame], np.float64).reshape(-1, 4) for frame in facts["faces_per_frame"]]
    return [np.concatenate([b[:, :2], b[:, :2] + b[:, 2:]], 1) for b in boxes]
