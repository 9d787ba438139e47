"""Work of one thread, done ahead of another's need, with a bound on how far."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ahead(items: Iterable[T], depth: int) -> Generator[T, None, None]:
    """The same items, made by a thread that is at most `depth` of them ahead. Its exception is raised here, after the
    items before it. Closing the iterator ends the thread, and closes `items` where that is a generator. Whoever may
    stop early uses `contextlib.closing`, since an error's traceback keeps the iterator alive."""
    ready: queue.Queue[T | _End] = queue.Queue(depth)
    stop = threading.Event()

    def offer(item: T | _End) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.05)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not offer(item):
                    return
        except BaseException as raised:  # noqa: BLE001 it is raised again where the items are used
            error = raised
        finally:
            if isinstance(items, Generator):
                items.close()  # here: a generator can't be closed by one thread while another is in it
        offer(_End(error))

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stop.set()
        thread.join()
