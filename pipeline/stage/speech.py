"""Someone speaks: syllables that move the mouth, and the voice that they make.

Vowels are harmonics of a glottal tone, weighed by the resonances of the vocal tract (source and filter: Fant, "Acoustic
Theory of Speech Production", 1960; formants of Peterson and Barney, JASA 24, 1952). It sounds like speech and says
nothing.
"""

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

# First three formants in Hz, how far the jaw drops, how far the lips spread.
_VOWELS = (
    (730, 1090, 2440, 0.95, 0.1),
    (530, 1840, 2480, 0.55, 0.6),
    (270, 2290, 3010, 0.25, 0.9),
    (570, 840, 2410, 0.6, -0.6),
    (300, 870, 2240, 0.3, -1.0),
    (500, 1500, 2500, 0.45, 0.0),
)
_BANDWIDTHS = (70.0, 100.0, 140.0)  # Hz
_STEP = 0.005  # seconds between the values that the voice follows
_TOP = 5200.0  # Hz of the highest harmonic


@dataclass(frozen=True, eq=False)
class Speech:
    """What one person says in the whole film, as values at `times` (seconds); straight lines between them."""

    times: Doubles
    loud: Doubles  # 0..1
    jaw: Doubles  # 0..1
    wide: Doubles  # -1..1
    formants: Doubles  # (n, 3) Hz
    hiss: Doubles  # 0..1, of consonants
    pitch: float  # Hz
    tract: float  # formants are multiplied by this: shorter vocal tracts ring higher
    beat: Doubles  # phase of the glottal tone in turns, every _STEP seconds

    def mouth(self, t: float) -> tuple[float, float, float]:
        """Jaw, lips and loudness at a time. The mouth runs ahead of the sound by a frame or so, as in life."""
        jaw, wide, loud = (float(np.interp(t + 0.03, self.times, v)) for v in (self.jaw, self.wide, self.loud))
        return jaw, wide, loud

    def sound(self, start: int, count: int, rate: int, seed: int) -> Doubles:
        """(count,) samples from sample `start` on, about -1..1."""
        t = (start + np.arange(count)) / rate
        loud, hiss = np.interp(t, self.times, self.loud), np.interp(t, self.times, self.hiss)
        if not loud.any() and not hiss.any():
            return np.zeros(count)
        coarse = np.arange(t[0], t[-1] + _STEP, _STEP)
        formants = [np.interp(coarse, self.times, f) * self.tract for f in self.formants.T]
        turns = np.interp(t, np.arange(len(self.beat)) * _STEP, self.beat)
        result = np.zeros(count)
        for k in range(1, int(_TOP / self.pitch) + 1):
            gain = np.interp(t, coarse, _resonance(k * self.pitch, formants) / k**0.85)
            result += gain * np.sin(2 * np.pi * k * turns)
        noise = np.random.default_rng([seed, start]).standard_normal(count + 2)
        sharp = np.diff(noise, 2)
        return 0.30 * loud * (result + 0.02 * sharp) + 0.03 * hiss * sharp


def _resonance(frequency: float, formants: list[Doubles]) -> Doubles:
    gain = np.ones_like(formants[0])
    for centre, band in zip(formants, _BANDWIDTHS, strict=True):
        ratio = frequency / centre
        gain = gain / np.sqrt((1 - ratio**2) ** 2 + (frequency * band / centre**2) ** 2)
    return gain


def speak(turns: list[tuple[float, float]], seconds: float, pitch: float, tract: float, seed: int) -> Speech:
    """Speech in each of the `turns` (start, stop in seconds) of a film of `seconds`."""
    dice = random.Random(f"speech {seed}")
    keys: list[tuple[float, ...]] = [(0.0, 0.0, 0.0, 0.0, 500.0, 1500.0, 2500.0, 0.0)]
    for start, stop in turns:
        t = start
        while t < stop - 0.3:
            phrase = min(stop, t + dice.uniform(1.2, 2.2))
            keys.append((t, 0.0, 0.0, 0.0, 500.0, 1500.0, 2500.0, 0.0))
            while t < phrase - 0.12:
                t = _syllable(dice, t, keys)
            keys.append((t + 0.07, 0.0, 0.0, 0.0, 500.0, 1500.0, 2500.0, 0.0))
            t += dice.uniform(0.25, 0.5)
    table = np.array(sorted(keys))
    steps = np.arange(int(seconds / _STEP) + 400) * _STEP
    melody = 1 + 0.09 * np.sin(2 * np.pi * 0.45 * steps + seed) + 0.05 * np.sin(2 * np.pi * 1.7 * steps + 2 * seed)
    beat = np.cumsum(pitch * melody * _STEP)
    return Speech(table[:, 0], table[:, 1], table[:, 2], table[:, 3], table[:, 4:7], table[:, 7], pitch, tract, beat)


def _syllable(dice: random.Random, t: float, keys: list[tuple[float, ...]]) -> float:
    """Append one syllable and return when it ends: a consonant with lips or tongue, then a vowel."""
    *formants, jaw, wide = dice.choice(_VOWELS)
    length, stress = dice.uniform(0.13, 0.26), dice.uniform(0.55, 1.0)
    lips = dice.random() < 0.3  # b, m, p: the lips meet
    hiss = 0.0 if lips else dice.choice((0.0, 0.0, 0.8, 1.0))
    close = 0.0 if lips else 0.14
    onset = 0.3 * length
    keys.append((t + 0.001, 0.12, close, wide * 0.3, *formants, hiss))
    keys.append((t + onset * 0.6, 0.15, close, wide * 0.4, *formants, hiss))
    keys.append((t + onset, 0.8 * stress, 0.6 * jaw * stress, wide * 0.8, *formants, 0.0))
    keys.append((t + 0.6 * length, stress, jaw * stress, wide, *formants, 0.0))
    keys.append((t + 0.9 * length, 0.6 * stress, 0.6 * jaw * stress, wide * 0.8, *formants, 0.0))
    return t + length


def room_tone(start: int, count: int, seed: int) -> Doubles:
    """(count, 2) the quiet of a room: soft low noise, another on each side."""
    window = np.hanning(48)
    noise = np.random.default_rng([seed, 77, start]).standard_normal((2, count + len(window) - 1))
    smooth = np.stack([np.convolve(n, window / np.sqrt((window**2).sum()), "valid") for n in noise], 1)
    return 0.0016 * smooth
