"""A server in the middle that does harm on demand: it cuts connections, says 503, is slow, or carries out and stays
silent."""

import contextlib
import random
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from servers import free_port

BUSY = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: 47\r\n\r\n"
    b"<Error><Code>SlowDown</Code><Message/></Error>\r\n"
)[:-1]


ANY = ("cut", "503", "lost", "half", "slow", "fine", "fine")


@dataclass
class Harm:
    """What happens to the next connections, one each, and then to all others. And what went through."""

    port: int
    plan: list[str] = field(default_factory=list)  # "cut": nothing is sent on; "503"; "lost": the answer is dropped
    mood: str = "fine"  # after the plan: "fine", "any" of those in ANY, or one of them
    delay: float = 1.0  # seconds until "slow" begins to do anything
    seen: list[str] = field(default_factory=list)  # what was done to each connection
    requests: list[str] = field(default_factory=list)  # first line of each
    cut_after: int = 0  # bytes of the answer after which a connection with "half" ends

    def next(self) -> str:
        what = self.plan.pop(0) if self.plan else self.mood
        if what == "any":
            what = random.choice(ANY)
        self.seen.append(what)
        return what


@contextlib.contextmanager
def flaky(target: int, listener: socket.socket | None = None) -> Iterator[Harm]:
    """A proxy before a server on loopback that wants one request per connection. `listener`: where it is called, if not
    on loopback, too."""
    harm = Harm(listener.getsockname()[1] if listener else free_port())

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            request = _read_request(self.request)
            if not request:
                return
            harm.requests.append(request.split(b"\r\n", 1)[0].decode())
            what = harm.next()
            if what == "503":
                self.request.sendall(BUSY)
            if what in ("cut", "503"):
                return
            if what == "slow":
                time.sleep(harm.delay)
            with socket.create_connection(("127.0.0.1", target)) as server:
                server.sendall(_closing(request))
                left = harm.cut_after if what == "half" else None
                while data := server.recv(65536):
                    if what == "lost":
                        continue
                    self.request.sendall(data if left is None else data[:left])
                    if left is not None and (left := left - len(data)) <= 0:
                        return

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address, daemon_threads = True, True

        def handle_error(self, *_: object) -> None:
            """The client went away."""

    with Server(("127.0.0.1", 0 if listener else harm.port), Handler) as server:
        if listener is not None:
            server.socket.close()
            server.socket, server.server_address = listener, listener.getsockname()
            server.server_activate()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield harm
        finally:
            server.shutdown()
            thread.join()


def _read_request(client: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := client.recv(65536)):
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += client.recv(1 << 20)
    return head + b"\r\n\r\n" + body


def _closing(request: bytes) -> bytes:
    """One request per connection: the end of the answer is the end of the connection."""
    line, _, rest = request.partition(b"\r\n")
    return line + b"\r\nConnection: close\r\n" + rest
