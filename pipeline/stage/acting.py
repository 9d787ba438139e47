"""Who is in a film, and what they do when: places in the room, turns of the head, blinks, glances, speech."""

import math
import random
from dataclasses import dataclass, replace

import numpy as np

from pipeline.stage.puppet import Moves
from pipeline.stage.speech import Doubles, Speech, speak


@dataclass(frozen=True, slots=True)
class Role:
    """One person's part. Positions in pixels of the room."""

    name: str  # of the role and of the puppet
    x: float  # of the middle between the eyes
    y: float
    face: float  # height of the face mesh, in pixels of the room
    light: float = 1.0
    soft: float = 0.0
    turn: float = 0.0  # degrees that the head is turned from the portrait's own view
    until: float | None = None  # where the person walks to, from x
    walk: tuple[float, float] = (0.0, 1.0)  # when, as a share of the first shot


ROLES = (  # the farthest first
    Role("far", 1090, 203, 27, 0.97, 0.3),
    Role("passer", 1400, 236, 104, 0.93, 0.2, 14, -130, (0.02, 0.92)),
    Role("walker", -130, 208, 112, 0.97, 0.1, -14, 1410, (0.06, 0.88)),
    Role("profile", 138, 322, 132, 1.30, 0.0, -14),
    Role("talker", 425, 330, 150, 1.0, 0.0, -5),
    Role("hand", 858, 325, 148, 1.12, 0.0, 9),
)
CAST = tuple(role.name for role in ROLES)
_VOICES = {"talker": (196.0, 1.13), "hand": (112.0, 1.0)}  # Hz, length of formants
_RAISE = (0.36, 0.43, 0.62, 0.69)  # the hand goes up between the first two and down between the last, shares of a shot


@dataclass(frozen=True, eq=False)
class Actor:
    """One person with everything that is decided before the film begins."""

    role: Role
    person: int
    blinks: tuple[float, ...]  # seconds
    glances: tuple[Doubles, Doubles]  # times, targets -1..1
    phases: tuple[float, ...]
    speech: Speech | None

    def moves(self, t: float) -> Moves:
        """What the face and the head do at a time in seconds."""
        p = self.phases
        yaw = 5.5 * math.sin(2 * math.pi * 0.13 * t + p[0]) + 3.0 * math.sin(2 * math.pi * 0.31 * t + p[1])
        pitch = 2.2 * math.sin(2 * math.pi * 0.17 * t + p[2]) + 1.2 * math.sin(2 * math.pi * 0.43 * t + p[3])
        roll = 2.6 * math.sin(2 * math.pi * 0.11 * t + p[4]) + 1.0 * math.sin(2 * math.pi * 0.37 * t + p[5])
        glance = float(np.interp(t, *self.glances))
        moves = Moves(
            yaw=self.role.turn + yaw - 3 * glance,
            pitch=pitch,
            roll=roll,
            blink=max((_lid(t - b) for b in self.blinks if abs(t - b) < 0.5), default=0.0),
            gaze=glance,
            smile=0.25 + 0.25 * math.sin(2 * math.pi * 0.09 * t + p[1]),
            brows=0.3 * max(0.0, math.sin(2 * math.pi * 0.21 * t + p[0])) ** 3,
            breath=math.sin(2 * math.pi * 0.27 * t + p[3]),
            lean=0.7 * math.sin(2 * math.pi * 0.1 * t + p[2]),
        )
        if self.speech is None:
            return moves
        jaw, wide, loud = self.speech.mouth(t)
        effort = float(np.mean([self.speech.mouth(t + d)[2] for d in (-0.2, -0.1, 0.0, 0.1, 0.2)]))
        nod = 2.5 * effort * math.sin(2 * math.pi * 1.1 * t + p[5])
        return replace(
            moves, jaw=0.55 * jaw, wide=0.8 * wide, smile=moves.smile * (1 - 0.6 * effort), pitch=pitch + nod,
            brows=moves.brows + 0.5 * effort * loud,
        )  # fmt: skip

    def walked(self, t: float, shot: float) -> tuple[float, float, float]:
        """Where the eyes are in the room at a time of the first shot (of `shot` seconds), and the lean of the walk."""
        role = self.role
        if role.until is None:
            return role.x + 3 * math.sin(2 * math.pi * 0.08 * t + self.phases[4]), role.y, 0.0
        start, stop = role.walk
        share = min(1.0, max(0.0, (t / shot - start) / (stop - start)))
        stride = 2 * math.pi * 1.75 * t / 2
        x = role.x + (role.until - role.x) * share
        return x, role.y - 4 * abs(math.sin(stride)), 1.0 * math.sin(stride)


def raised(t: float, shot: float) -> float:
    """How far the hand is up at a time of a shot: 0 below the table, 1 before the mouth."""
    share = t / shot
    up = min(1.0, max(0.0, (share - _RAISE[0]) / (_RAISE[1] - _RAISE[0])))
    down = min(1.0, max(0.0, (share - _RAISE[2]) / (_RAISE[3] - _RAISE[2])))
    level = up - down
    return level * level * (3 - 2 * level)


def actors(cast: tuple[str, ...], seconds: float, seed: int) -> list[Actor]:
    """The cast in the order in which it is drawn. Raises ValueError for a role that isn't known."""
    unknown = set(cast) - set(CAST)
    if unknown or not cast:
        raise ValueError(f"no role is called {', '.join(sorted(unknown)) or 'nothing'}; known: {', '.join(CAST)}")
    return [_actor(role, person, cast, seconds, seed) for person, role in enumerate(ROLES) if role.name in cast]


def _actor(role: Role, person: int, cast: tuple[str, ...], seconds: float, seed: int) -> Actor:
    dice = random.Random(f"{seed} {role.name}")
    blinks, t = [], dice.uniform(0.25, 0.7)
    while t < seconds:
        blinks.append(t)
        t += dice.uniform(1.8, 4.5)
    times, targets, t, target = [0.0], [0.0], dice.uniform(0.5, 1.2), 0.0
    while t < seconds:
        aside = dice.choice((0.0, 0.0, -0.55, 0.55, 0.3, -0.3))
        times += [t, t + 0.05]
        targets += [target, aside]
        target, t = aside, t + dice.uniform(0.6, 1.9)
    phases = tuple(dice.uniform(0, 2 * math.pi) for _ in range(6))
    speech = None
    if role.name in _VOICES:
        pitch, tract = _VOICES[role.name]
        speech = speak(_turns(role.name, cast, seconds), seconds, pitch, tract, seed * 31 + person)
    return Actor(role, person, tuple(blinks), (np.array(times), np.array(targets)), phases, speech)


def _turns(name: str, cast: tuple[str, ...], seconds: float) -> list[tuple[float, float]]:
    """Who speaks when: they take turns, if there are two of them."""
    if not {"talker", "hand"} <= set(cast):
        return [(0.05, seconds)]
    shares = ((0.02, 0.22), (0.46, 1.0)) if name == "talker" else ((0.235, 0.45),)
    return [(a * seconds, b * seconds) for a, b in shares]


def _lid(t: float) -> float:
    """How far the lids are closed `t` seconds after they begin to."""
    close, hold, rise = 0.09, 0.04, 0.17
    if t < 0 or t > close + hold + rise:
        return 0.0
    if t < close:
        return t / close
    return 1.0 if t < close + hold else 1 - (t - close - hold) / rise
