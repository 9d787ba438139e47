"""The farm's outer side as `serve` puts it together: a real server and a real controller; workers that see no film."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from apifarm import ShownPool
from doubles import DrySteps

from cluster.front import Address, Front, FrontSettings
from cluster.service import Service
from storage.folder import FolderStore

SECRET = b"what signs the webhooks"
PATIENCE = 60.0


def until(what: Callable[[], Any]) -> Any:
    """What it says, as soon as that is something."""
    end = time.monotonic() + PATIENCE
    while not (found := what()):
        assert time.monotonic() < end, "it didn't come to pass"
        time.sleep(0.02)
    return found


class Farm:
    """One `serve`."""

    def __init__(self, front: Front, service: Service, said: list[str]) -> None:
        self.front, self.service, self.said = front, service, said
        self.clients: list[httpx2.Client] = []
        assert front.server is not None
        self.url = front.server.url

    def token(self) -> str:
        """The first one."""
        line = until(lambda: next((each for each in self.said if "token" in each), None))
        return str(line).rpartition(" ")[2]

    def client(self, token: str) -> httpx2.Client:
        """Of who has the token."""
        found = httpx2.Client(base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE)
        self.clients.append(found)
        return found


@contextmanager
def serving(folder: Path, *hooks: str, steps: DrySteps | None = None, port: int = 0) -> Iterator[Farm]:
    """A farm in a folder; `hooks`: webhooks; `port`: 0 for a free one."""
    store, said = FolderStore(folder / "store"), list[str]()
    address = Address("127.0.0.1", port, True)
    settings = FrontSettings(address, hooks, SECRET if hooks else b"", (str(folder / "films"),))
    front = Front(store, str(folder / "store"), settings)
    service = Service(front.store, str(folder / "store"), ShownPool(steps or DrySteps()), front.changed, 10.0)
    front.start(service, said.append)
    thread = threading.Thread(target=service.run)
    thread.start()
    farm = Farm(front, service, said)
    try:
        yield farm
    finally:
        for client in farm.clients:
            client.close()
        service.stop()
        thread.join()
        front.close()
