"""What has to be known of pictures besides their pixels, to write them back: noted once, at ingest."""

import json
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from pipeline.errors import VerifyError
from pipeline.stills.kinds import written

FILE = "album.json"  # beside the film that the pictures became
_UNSAID = Fraction(1, 10)  # seconds that viewers take for a picture of an animation that says 0
RATE = Fraction(25)  # pictures of a folder a second, where it becomes a film


@dataclass(frozen=True, slots=True)
class Album:
    """Pictures in their order."""

    kind: str  # of the source, as `kinds` calls it; "folder"
    names: tuple[str, ...]  # a folder's files; () for one file
    delays: tuple[Fraction, ...]  # seconds that each picture is shown, as the file says; () where there is no time
    plays: int  # how often an animation is played; 0: for ever
    alpha: bool  # some picture has pixels that aren't opaque
    stripped: tuple[str, ...]  # what is left out on purpose

    @property
    def written(self) -> tuple[str, ...]:
        """What the pictures made of a folder's files are called."""
        wanted = [written(name) for name in self.names]
        taken = Counter([*self.names, *(new for name, new in zip(self.names, wanted, strict=True) if new != name)])
        pairs = zip(self.names, wanted, strict=True)
        return tuple(new if new == name or taken[new] == 1 else f"{name}.jpg" for name, new in pairs)

    @property
    def moves(self) -> bool:
        """Whether it is an animation."""
        return bool(self.delays)

    def shown(self, count: int) -> list[Fraction]:
        """Seconds for which each of `count` pictures is shown, none of them 0."""
        if self.moves:
            return [delay or _UNSAID for delay in self.delays]
        return [1 / RATE if self.names else Fraction(1)] * count

    def save(self, folder: Path) -> None:
        """Write it into the folder of the film."""
        facts = {
            "kind": self.kind,
            "names": self.names,
            "delays": [[delay.numerator, delay.denominator] for delay in self.delays],
            "plays": self.plays,
            "alpha": self.alpha,
            "stripped": self.stripped,
        }
        (folder / FILE).write_text(json.dumps(facts), encoding="utf-8")

    @staticmethod
    def load(folder: Path) -> "Album":
        """Read what `save` wrote. Raises VerifyError when it isn't there."""
        try:
            facts = json.loads((folder / FILE).read_text(encoding="utf-8"))
            return Album(
                facts["kind"],
                tuple(facts["names"]),
                tuple(Fraction(*delay) for delay in facts["delays"]),
                facts["plays"],
                facts["alpha"],
                tuple(facts["stripped"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise VerifyError(f"{folder / FILE} is not an album", str(error), "run the ingest step again") from error
