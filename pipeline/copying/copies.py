"""The groups of one chunk that are copied, while nothing speaks against it, and proof that they came out the same."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np

from pipeline import planes
from pipeline.copying.clean import NEAR, Verdict, Why
from pipeline.copying.groups import Group
from pipeline.errors import VerifyError
from pipeline.facts import VideoInfo
from pipeline.planes import Planes
from pipeline.track import Track

_BYTES = 16


def digest(picture: Planes) -> bytes:
    """Of all samples of a picture."""
    total = hashlib.blake2b(digest_size=_BYTES)
    for plane in picture:
        total.update(np.ascontiguousarray(plane.cpu().numpy()).data)
    return total.digest()


def decoded_digest(frame: av.VideoFrame, info: VideoInfo) -> bytes:
    """The same of a frame that was decoded, if it means the same colours as the film; else b""."""
    # 0 and 1 both mean limited range.
    colours = (frame.color_primaries, frame.color_trc, frame.colorspace, max(1, frame.color_range))
    wanted = (info.color_primaries, info.color_trc, info.colorspace, 2 if info.layout.full_range else 1)
    if tuple(int(number) for number in colours) != wanted or frame.width != info.layout.width:
        return b""
    return digest(planes.of_frame(planes.in_layout(frame, info.layout)))


class Copies:
    """What is copied in a chunk. Rendering may take groups out, and never puts one in."""

    def __init__(self, verdicts: Sequence[Verdict], sets: bytes) -> None:
        """`verdicts` on all of the chunk's groups, cut to it, in order; `sets`: the source's parameter sets."""
        self.verdicts, self.sets = tuple(verdicts), sets
        self._digests = dict[int, bytes]()

    @property
    def groups(self) -> tuple[Group, ...]:
        """Those that are copied."""
        return tuple(verdict.group for verdict in self.verdicts if not verdict.why)

    def make_way(self, covers: Iterable[Track]) -> None:
        """Where something is to be covered, nothing is copied."""
        frames = {int(frame) for cover in covers for frame in cover.frames}
        self._take_out([bool(frames & set(range(v.start, v.stop))) for v in self.verdicts], "gate")

    def hold(self, sights: Sequence[tuple[int, float]], unlike: Sequence[int]) -> bool:
        """After a rendering; False when groups had to be taken out, so that it has to be done again.

        `sights`: frames and scores of whatever the gate's detector took for a face, however unsure, in the chunk and
        around it. Such a group isn't copied, nor one beside it or within NEAR frames of it. `unlike`: copied frames
        that came out other than they are in the source."""
        before = self.groups

        def highest_in(start: int, stop: int) -> float:
            return max((score for frame, score in sights if start <= frame < stop), default=0.0)

        scores = [highest_in(v.start, v.stop) for v in self.verdicts]
        near = [highest_in(v.start - NEAR, v.stop + NEAR) for v in self.verdicts]
        highest = [max(near[k], *scores[max(0, k - 1) : k + 2]) for k in range(len(scores))]
        self.verdicts = tuple(replace(v, gate=highest[k]) for k, v in enumerate(self.verdicts))
        self._take_out([score > 0 for score in highest], "gate")
        self._take_out([any(v.start <= f < v.stop for f in unlike) for v in self.verdicts], "decoded")
        return self.groups == before

    def _take_out(self, which: Sequence[bool], why: Why) -> None:
        pairs = zip(self.verdicts, which, strict=True)
        self.verdicts = tuple(replace(v, why=why) if out and not v.why else v for v, out in pairs)

    def prove(self, digests: dict[int, bytes]) -> None:
        """What the source's pictures were, by frame, of those that were copied in the end."""
        self._digests = digests

    def save_proof(self, path: Path) -> None:
        """Write the digests of the copied pictures to `path`, a .npz file."""
        frames = np.array(sorted(self._digests), np.int64)
        rows = np.frombuffer(b"".join(self._digests[int(frame)] for frame in frames), np.uint8).reshape(-1, _BYTES)
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, frames=frames, digests=rows)


class Proof:
    """Looks at a whole film, frame by frame, and tells whether what was copied is what it was. Memory: some bytes per
    copied frame."""

    def __init__(self, info: VideoInfo, first: int, parts: Iterable[Path]) -> None:
        """`first`: the film's first frame in its source; `parts`: what `save_proof` has written. Raises VerifyError
        when one can't be read."""
        self._info, self._first = info, first
        self._wanted, self._unlike = dict[int, bytes](), list[int]()
        for path in parts:
            try:
                with np.load(path, allow_pickle=False) as file:
                    rows = zip(file["frames"].tolist(), file["digests"], strict=True)
                    self._wanted |= {int(frame): row.tobytes() for frame, row in rows}
            except (OSError, ValueError, KeyError) as error:
                raise VerifyError(f"{path} doesn't tell what was copied", str(error), "render it again") from error

    def look(self, number: int, frame: av.VideoFrame) -> None:
        """Takes the frame of that number in the film, from 0."""
        wanted = self._wanted.pop(self._first + number, None)
        if wanted is not None and decoded_digest(frame, self._info) != wanted:
            self._unlike.append(self._first + number)

    def check(self) -> None:
        """Raises VerifyError unless every copied frame was seen, and was the source's."""
        if wrong := len(self._unlike) + len(self._wanted):
            frame = min([*self._unlike, *self._wanted])
            what = f"{wrong} copied frames are not the source's, the first of them is frame {frame}"
            raise VerifyError(what, "a decoder doesn't get along with the splices", "run again without --copy-clean")
