"""How old the people of the portraits look: years, judged by eye from contact sheets by one viewer. Nobody's age, since
there is nobody; what hair and neck show, which a new face should not contradict (`pipeline/traits.py`)."""

# Ten in a row, by number; a number that no portrait has is --.
_FEMALE = """
    22 22 35 20 50 28 48 72 22 42
    24 50 78 30 55 76 65 22 60 48
    55 60 22 75 75 55 28 38 25 55
    25 26 38 72 70 50 30 35 45 48
    28 80 28 25 27 32 65 24 30 38
    24 55 82 50 52 75 27 26 28 32
    26 72 52 75 23 27 22 28 24 80
    42 30 25 26 30 70 60 60 62 80
    75 68 25 65 22 26 35 22 30 27
    22 22 30 80 27 42 82 22 -- 30
"""
_MALE = """
    45 68 30 55 22 20 70 27 52 30
    48 60 30 45 45 70 35 72 26 40
    70 25 72 62 45 45 32 23 60 32
    32 42 26 38 22 42 48 22 75 42
    38 38 36 28 75 20 30 78 28 30
    75 30 45 45 45 42 62 75 25 60
    38 38 42 22 35 75 27 68 38 80
    22 20 26 68 30 38 32 42 27 35
    48 42 28 28 30 62 45 24 35 65
    48 24 78 35 42 72 35 24 24 58
"""


def apparent_ages(names: list[str]) -> list[float]:
    """Decades, of portraits named female_NNN.webp and male_NNN.webp."""
    found = {"female": _FEMALE.split(), "male": _MALE.split()}
    return [int(found[sex][int(number[:3])]) / 10 for sex, number in (name.split("_") for name in names)]
