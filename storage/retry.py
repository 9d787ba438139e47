"""How often something is tried again, and how long is waited between: exponential backoff with full jitter.

Many workers that lost the same server must not come back in step, so that each pause is drawn evenly from nothing up to
a bound that doubles (Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015).
"""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """Bounds on trying again. The defaults give up after some 25 s, never later than a minute after the first try:
    what takes longer is for the farm to wait for, which has other work to do meanwhile."""

    attempts: int = 10
    base: float = 0.2  # seconds: bound of the first pause is twice that
    cap: float = 10.0  # seconds: no pause is longer
    total: float = 60.0  # seconds: no try begins later than this after the first
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random  # evenly from [0, 1)

    def tries(self) -> Iterator[int]:
        """The numbers of the tries, from 0, each after its pause. The one who tries breaks off when it went well."""
        begun = self.clock()
        for number in range(self.attempts):
            if number:
                pause = self.chance() * min(self.cap, self.base * 2.0**number)
                if self.clock() + pause - begun > self.total:
                    return
                self.sleep(pause)
            yield number


HASTY = Patience(attempts=3, base=0.1, total=10.0)  # for a person who waits in front of the screen
