"""Films by construction: every frame carries its own number, and every time is known before a file is written."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np

os.environ.setdefault("SVT_LOG", "1")

WIDTH, HEIGHT = 128, 96
_BLOCK = 16  # pixels; eight blocks in the first row hold the number's bits
_RATE = 48_000  # samples per second of the sound

ENCODERS = {
    "h264": "libx264",
    "hevc": "libx265",
    "av1": "libsvtav1",
    "vp9": "libvpx-vp9",
    "mpeg2video": "mpeg2video",
    "mpeg4": "mpeg4",
}
AUDIO = {"mp4": "aac", "mov": "aac", "mkv": "aac", "webm": "libopus", "ts": "mp2", "mpg": "mp2", "avi": "mp2"}
FORMATS = {"mkv": "matroska", "ts": "mpegts", "mpg": "mpeg"}
CLOCKS = {"mkv": Fraction(1, 1000), "webm": Fraction(1, 1000), "ts": Fraction(1, 90_000), "mpg": Fraction(1, 90_000)}


@dataclass(frozen=True)
class Film:
    """What to make."""

    container: str = "mp4"
    codec: str = "h264"
    frames: int = 30
    gop: int = 8
    open_gop: bool = False
    b_frames: int = 2
    pattern: str = "cfr"  # of times: "cfr", "ntsc" or "vfr"
    sound: int = 1  # tracks
    delay: Fraction = Fraction(0)  # seconds by which the sound begins later
    pix_fmt: str = "yuv420p"
    audio: str = ""  # FFmpeg's encoder; "": what the container usually holds

    @property
    def time_base(self) -> Fraction:
        """The encoder's; the container may take a finer one."""
        return Fraction(1, 30_000) if self.pattern != "cfr" else Fraction(1, 25)

    def times(self) -> list[Fraction]:
        """Seconds at which each frame is shown, as the container's clock can say them."""
        step = {"cfr": 1, "ntsc": 1001, "vfr": 1001}[self.pattern]
        ticks, now = [], 0
        for number in range(self.frames):
            ticks.append(now)
            now += step if self.pattern != "vfr" else step * (1 + (number * 7) % 3) + (number * 13) % 400
        clock = CLOCKS.get(self.container)
        exact = [t * self.time_base for t in ticks]
        return exact if clock is None else [clock * int(t / clock + Fraction(1, 2)) for t in exact]


def stamp(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Luma of a frame that shows its number, over something that moves."""
    rows, columns = np.mgrid[0:height, 0:width]
    luma = (96 + 24 * np.sin((columns + 3 * number) / 9) + 24 * np.cos(rows / 7)).astype(np.uint8)
    for bit in range(8):
        luma[:_BLOCK, bit * _BLOCK : (bit + 1) * _BLOCK] = 220 if number >> bit & 1 else 30
    return luma


def read_stamp(luma: Any, depth: int = 8) -> int:
    """The number that a frame shows; `luma` (H, W) of any array type."""
    number = 0
    for bit in range(8):
        x = bit * _BLOCK
        block = luma[4:12, x + 4 : x + 12]
        number |= (float(block.sum()) / 64 > (120 << (depth - 8))) << bit
    return number


def make(film: Film, path: Path) -> Path:
    """Write the film."""
    with av.open(path, "w", format=FORMATS.get(film.container, film.container)) as out:
        video = out.add_stream(ENCODERS[film.codec], rate=25, options=_options(film))
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, film.pix_fmt
        video.codec_context.time_base = video.time_base = film.time_base
        video.codec_context.gop_size = film.gop
        if film.codec in ("mpeg2video", "mpeg4"):
            video.codec_context.max_b_frames = film.b_frames
            video.codec_context.bit_rate = 800_000
        tracks = [_sound_track(out, film, n) for n in range(film.sound)]
        length = max(film.times()[-1] + Fraction(1, 25), Fraction(1, 4))
        sounds = [_sound(track, film, n, length) for n, track in enumerate(tracks)]
        _interleave(out, [_pictures(video, film), *sounds])
    return path


def _interleave(out: Any, sources: list[Iterator[Any]]) -> None:
    ahead = [(next(source, None), source) for source in sources]
    while any(packet is not None for packet, _ in ahead):
        ahead.sort(key=lambda item: item[0].dts * item[0].time_base if item[0] is not None else Fraction(10**9))
        packet, source = ahead[0]
        out.mux(packet)
        ahead[0] = (next(source, None), source)


def _options(film: Film) -> dict[str, str]:
    opened = int(film.open_gop)
    params = f"open-gop={opened}:bframes={film.b_frames}:scenecut=0:keyint={film.gop}:min-keyint={film.gop}"
    if film.codec == "h264":
        return {"preset": "ultrafast", "x264-params": params + ":b-adapt=0"}
    if film.codec == "hevc":
        return {"preset": "ultrafast", "x265-params": params + ":log-level=none:b-adapt=0:pools=1"}
    if film.codec == "av1":
        return {"preset": "10", "crf": "35", "svtav1-params": "lp=1"}
    if film.codec == "vp9":
        return {"deadline": "realtime", "cpu-used": "8", "crf": "30"}
    return {"flags": "+cgop", "sc_threshold": "1000000000"} if film.codec == "mpeg2video" and not film.open_gop else {}


def _pictures(video: Any, film: Film) -> Iterator[Any]:
    ticks = [round(t / film.time_base) for t in Film(**{**film.__dict__, "container": "mp4"}).times()]
    for number in range(film.frames):
        frame = av.VideoFrame.from_ndarray(_with_chroma(stamp(number)), format="yuv420p")
        frame = frame if film.pix_fmt == "yuv420p" else frame.reformat(format=film.pix_fmt)
        frame.pts, frame.time_base = ticks[number], film.time_base
        yield from video.encode(frame)
    yield from video.encode(None)


def _with_chroma(luma: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    chroma = np.full((luma.shape[0] // 2, luma.shape[1]), 128, np.uint8)
    return np.concatenate([luma, chroma])


def _sound_track(out: Any, film: Film, number: int) -> Any:
    track = out.add_stream(film.audio or AUDIO[film.container], rate=_RATE)
    track.codec_context.layout = "mono"
    track.metadata["language"] = ("eng", "fra", "deu")[number % 3]
    return track


def _sound(track: Any, film: Film, number: int, length: Fraction) -> Iterator[Any]:
    context = track.codec_context
    context.open()
    size, begin = context.frame_size or 1024, int(film.delay * _RATE)
    tone = np.sin(np.arange(int(length * _RATE)) * (0.02 + 0.01 * number)) * 9000
    kind = context.format.name
    for place in range(0, len(tone) - size + 1, size):
        samples = tone[place : place + size]
        data = (samples / 32768).astype(np.float32) if kind.startswith("flt") else samples.astype(np.int16)
        if kind.startswith("s32"):
            data = (samples * 65536).astype(np.int32)
        frame = av.AudioFrame.from_ndarray(data[None], format=kind, layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = _RATE, begin + place, Fraction(1, _RATE)
        yield from track.encode(frame)
    yield from track.encode(None)


def ffmpeg(*arguments: str | Path) -> None:
    """Run the ffmpeg binary that comes with imageio-ffmpeg."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-nostdin", "-loglevel", "error", *map(str, arguments)]
    subprocess.run(command, check=True, timeout=60, stdin=subprocess.DEVNULL)
