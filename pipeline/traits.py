"""What hair, neck and hands show of a person, too, and a new face must therefore not contradict: apparent sex, age,
beard and skin. Read off the recogniser's vectors, which outlast blur, light and a turned head; kept nowhere.

How a person looks to a machine is no fact about them. It decides nothing but which faces fit.
"""

import torch
from torch import Tensor

SEX = 0  # 1 looks female, -1 looks male
AGE = 1  # decades that one looks old
BEARD = 2  # how much darker than the cheeks upper lip and chin are, in logarithms
TONE = 3  # logarithm of the brightness of skin
COUNT = 4
# Differences that count as one contradiction. Closer ones tell who it was.
_UNITS = {AGE: 1.2, BEARD: 0.06, TONE: 0.35}
_YOUNGER = 0.7  # as much as one that looks older: smooth skin on an old head stands out less
_SEX = 8.0  # outweighs all others together
# Decades that people look older to the probe than to an eye: portraits are smoother. The 56 of the London Set, most of
# them in their twenties by eye, look 39 to it in the mean.
_REAL = 0.8


def apparent(vectors: Tensor, probes: Tensor) -> Tensor:
    """(COUNT,) of a person from the recogniser's vectors (n, 128) of some looks, by linear probes (1 + 128, COUNT);
    the median."""
    return (vectors @ probes[1:] + probes[0]).median(0).values


def contradictions(drawn: Tensor, wanted: Tensor) -> Tensor:
    """(P,) how badly faces with the traits (P, COUNT) fit a head with the traits (COUNT,): 1 is a clear contradiction
    in one respect."""
    # A head of which the probe isn't sure fits both.
    total = ((drawn[:, SEX] - wanted[SEX].clamp(-1, 1)).abs() - 1).clamp_min(0) * _SEX
    for trait, unit in _UNITS.items():
        differ = (drawn[:, trait] - wanted[trait] + (_REAL if trait == AGE else 0)) / unit
        total += torch.where(differ < 0, -_YOUNGER * differ, differ) if trait == AGE else differ.abs()
    return total


def seeming(found: Tensor, wanted: Tensor) -> Tensor:
    """() the same for a face on its head, as the probes see both, (COUNT,) each: sex and age only, the two that they
    are sure of."""
    sex = ((found[SEX].clamp(-1, 1) - wanted[SEX].clamp(-1, 1)).abs() - 0.5).clamp_min(0) * 2
    return sex + (found[AGE] - wanted[AGE]).abs() / _UNITS[AGE]
