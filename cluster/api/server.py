"""The API's server: uvicorn in a thread, beside the controller."""

import socket
import threading

import uvicorn
from fastapi import FastAPI

_PATIENCE = 5.0  # seconds that requests get to end


class Server:
    """Listens from its making on, so that an address that can't be had is known at once."""

    def __init__(self, host: str, port: int) -> None:
        """Port 0 takes a free one. Raises OSError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=256)
        self.host, self.port = self._socket.getsockname()[:2]
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def start(self, app: FastAPI) -> None:
        """Answer requests."""
        config = uvicorn.Config(
            app,
            log_config=None,  # lines go where this process' lines go
            access_log=False,  # the guard logs each request with its user
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=3,
            limit_concurrency=500,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="api", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(_PATIENCE)
        self._socket.close()
