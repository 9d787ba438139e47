"""Which uploads were begun from this machine and not ended, so that the same command goes on with them."""

import contextlib
import hashlib
import os
from pathlib import Path

_KIND = "veilfarm-uploads"


class Pending:
    """Ids of uploads, in small files that only their user can read. What can't be kept costs an upload, no more."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / _KIND

    def _file(self, server: str, user: str, path: Path) -> Path:
        facts = path.stat()
        name = f"{server}\n{user}\n{path.resolve()}\n{facts.st_size}\n{facts.st_mtime_ns}"
        return self._folder / hashlib.sha256(name.encode()).hexdigest()[:32]

    def find(self, server: str, user: str, path: Path) -> str | None:
        """The upload of this very file that was begun; None when there is none."""
        try:
            return self._file(server, user, path).read_text(encoding="ascii").strip() or None
        except (OSError, ValueError):
            return None

    def keep(self, server: str, user: str, path: Path, upload: str) -> None:
        """It was begun."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = self._file(server, user, path)
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w", encoding="ascii") as out:
                out.write(upload)

    def drop(self, server: str, user: str, path: Path) -> None:
        """It is a job now, or gone."""
        with contextlib.suppress(OSError):
            self._file(server, user, path).unlink(missing_ok=True)
