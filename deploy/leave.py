"""This machine is going away: its workers get nothing new, and end what they do.

leave.py FILE [SECONDS]

FILE is what `veilfarm serve --leave-file` names. Comes back when the controller says that no worker of this machine has
an order any more, or after SECONDS.
"""

import os
import socket
import sys
import time
from pathlib import Path

from cluster.service import read_status
from storage.address import open_store
from storage.objects import StoreError

LOOK_EVERY = 2.0  # seconds
NOTICED = 6.0  # seconds after which the controller knows of the file, and its status shows it
STALE = 60.0  # seconds after which a status says nothing: there is no controller that could give orders


def busy(place: str, host: str) -> bool:
    """Whether a worker of this host has an order, as far as the store can tell."""
    try:
        status = read_status(open_store(place))
    except StoreError as error:
        print(f"leave.py: {error}", file=sys.stderr)
        return True
    if status is None or time.time() - status.at > STALE:
        return False
    return any(worker.unit and worker.name.startswith(f"{host}-") for worker in status.workers)


def main(file: Path, seconds: float) -> None:
    """Returns when the machine may go."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    until = time.monotonic() + seconds
    time.sleep(min(NOTICED, seconds))
    place = os.environ.get("VEILFARM_STORE", "")
    while place and time.monotonic() < until and busy(place, socket.gethostname()):
        time.sleep(LOOK_EVERY)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 120.0)
