"""The API of `apiclient` on a real server on loopback, and a cable to it that can be cut."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from apiclient import Api

from cluster.api.server import Server
from cluster.client.wire import Patience
from cluster.users import Role

HASTY = Patience(4, 0.01, 0.05)  # of clients in tests


@contextlib.contextmanager
def answering(api: Api) -> Iterator[str]:
    """Its URL."""
    server = Server("127.0.0.1", 0)
    server.start(api.app)
    try:
        yield server.url
    finally:
        api.context.stopping.set()
        server.close()


def token(api: Api, name: str, role: Role = Role.SUBMITTER, team: str = "") -> str:
    """Of a new user."""
    api.users.add(name, role, team)
    return api.users.issue(name)[0]


@dataclass
class Cable:
    """Connections to a server, each of which breaks after so many bytes to it, or from it; None: never."""

    url: str = ""
    up: list[int | None] = field(default_factory=list)  # of the next connections, one each
    down: list[int | None] = field(default_factory=list)
    connections: int = 0


@contextlib.contextmanager
def cable(url: str) -> Iterator[Cable]:
    """A cable to the server at `url`."""
    port = int(url.rpartition(":")[2])
    listener = socket.create_server(("127.0.0.1", 0))
    found = Cable(f"http://127.0.0.1:{listener.getsockname()[1]}")
    threads: list[threading.Thread] = []
    sockets: list[socket.socket] = []

    def carry(source: socket.socket, sink: socket.socket, left: int | None, both: tuple[socket.socket, ...]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16 if left is None else max(1, min(left, 1 << 16))):
                sink.sendall(data)
                if left is not None:
                    left -= len(data)
                    if left <= 0:
                        break
        for each in both:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        nonlocal sockets
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                found.connections += 1
                server = socket.create_connection(("127.0.0.1", port))
                sockets += [client, server]
                up = found.up.pop(0) if found.up else None
                down = found.down.pop(0) if found.down else None
                for source, sink, left in ((client, server, up), (server, client, down)):
                    threads.append(threading.Thread(target=carry, args=(source, sink, left, (client, server))))
                    threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield found
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)
        for each in sockets:
            each.close()
