"""A small pattern by which people tell one public seed id from another. It is drawn from the id and shows nobody."""

import hashlib

from markupsafe import Markup

_CELLS = 5


def avatar(identity: str, size: int = 56) -> Markup:
    """An SVG picture, mirrored left to right, in a colour of its own."""
    digest = hashlib.sha256(f"mark {identity}".encode()).digest()
    hue = int.from_bytes(digest[:2]) % 360
    cells = []
    for column in range(3):
        for row in range(_CELLS):
            strength = digest[2 + column * _CELLS + row]
            if strength < 112:
                continue
            opacity = "1" if strength > 180 else ".55"
            for x in {column, _CELLS - 1 - column}:
                cells.append(f'<rect x="{x}" y="{row}" width="1.02" height="1.02" opacity="{opacity}"/>')
    return Markup(
        f'<svg class="avatar" viewBox="-1 -1 7 7" width="{size}" height="{size}" aria-hidden="true">'
        f'<rect x="-1" y="-1" width="7" height="7" rx="1.4" fill="hsl({hue} 45% 50%)" opacity=".16"/>'
        f'<g fill="hsl({hue} 48% 46%)">{"".join(cells)}</g></svg>'
    )
