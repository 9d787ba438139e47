"""Which places a request may name. Nothing is opened, written or asked before it was found here."""

from collections.abc import Iterable
from pathlib import Path

from cluster.api.problems import Problem
from storage.address import is_object


class Allowed:
    """Folders of this machine, and buckets or folders in them, that the operator gave at start."""

    def __init__(self, places: Iterable[str]) -> None:
        """Raises ValueError for a place that is neither."""
        self._buckets: list[str] = []
        self._folders: list[Path] = []
        for place in places:
            if is_object(place):
                self._buckets.append(f"{place.rstrip('/')}/")
            elif "://" in place:
                raise ValueError(f"{place} is neither a folder nor s3://BUCKET/FOLDER")
            else:
                self._folders.append(Path(place).resolve())

    def checked(self, place: str) -> str:
        """The place itself; a path with all links followed. Raises Problem 403 for any other."""
        refused = Problem(403, "this place isn't one that the farm may use; ask its operator to --allow it")
        if any(ord(letter) < 32 or ord(letter) == 127 for letter in place):
            raise refused
        if is_object(place):
            if any(part in ("", ".", "..") for part in place.removeprefix("s3://").rstrip("/").split("/")):
                raise refused
            if not any(place.startswith(bucket) for bucket in self._buckets):
                raise refused
            return place
        if "://" in place or not place.startswith("/"):
            raise refused
        try:
            path = Path(place).resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise refused from error
        if not any(path.is_relative_to(folder) for folder in self._folders):
            raise refused
        return f"{path}/" if place.endswith("/") else str(path)
