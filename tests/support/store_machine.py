"""The same calls to the in-memory double and to another store, in an order that Hypothesis thinks out: same answers."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from storage.memory import MemoryStore
from storage.objects import ObjectStore, StoreError

KEYS = st.sampled_from(["a/b", "a/b-c", "a/b.c", "a/c/x", "a/c/y", "ab/x", "b", "c/d/e/f", "c/d/e/g"])
FOLDERS = st.sampled_from(["", "a", "a/c", "ab", "c", "c/d", "nothing", "b"])
DATA = st.sampled_from([b"", b"one", b"two", b"three" * 100])


class StoreMachine(RuleBasedStateMachine):
    """Derive and set `other`, which makes the store to compare: an empty one each time."""

    other: Callable[[], ObjectStore]

    def __init__(self) -> None:
        super().__init__()
        self.stores: tuple[ObjectStore, ObjectStore] = (MemoryStore(), type(self).other())
        self.etags: list[tuple[str, str, str]] = []  # key, and the same version in each store

    @rule(key=KEYS, data=DATA)
    def create(self, key: str, data: bytes) -> None:
        self.same(lambda store: store.create(key, data))

    @rule(key=KEYS, data=DATA)
    def put_file(self, key: str, data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x"
            path.write_bytes(data)
            self.same(lambda store: store.put_file(key, path).size)

    @rule(key=KEYS)
    def read(self, key: str) -> None:
        self.same(lambda store: store.read(key))
        self.same(lambda store: store.stat(key).size)

    @rule(key=KEYS)
    def remember(self, key: str) -> None:
        etags = self.answers(lambda store: store.read_versioned(key)[1])
        if isinstance(etags[0], str):
            self.etags.append((key, *etags))

    @rule(data=DATA, which=st.integers(0, 100))
    def replace(self, data: bytes, which: int) -> None:
        """Of a version that was seen, which is the newest or not."""
        if self.etags:
            key, *etags = self.etags[which % len(self.etags)]
            known = dict(zip(map(id, self.stores), etags, strict=True))
            self.same(lambda store: bool(store.replace(key, data, known[id(store)])))

    @rule(key=KEYS, start=st.integers(0, 600), length=st.integers(1, 600))
    def read_range(self, key: str, start: int, length: int) -> None:
        self.same(lambda store: store.read_range(key, start, length))

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.same(lambda store: store.delete(key))

    @rule(folder=FOLDERS, after=st.none() | KEYS, limit=st.integers(1, 10))
    def list(self, folder: str, after: str | None, limit: int) -> None:
        self.same(lambda store: store.list(folder, after, limit))
        self.same(lambda store: store.children(folder))

    @rule(folder=FOLDERS)
    def erase(self, folder: str) -> None:
        if folder != "b":  # an object in a place where others have folders
            self.same(lambda store: store.erase(folder))

    def answers(self, call: Callable[[ObjectStore], Any]) -> tuple[Any, ...]:
        """What each store returns, or the kind of error that it raises."""
        found = []
        for store in self.stores:
            try:
                found.append(call(store))
            except StoreError as error:
                found.append(type(error))
        return tuple(found)

    def same(self, call: Callable[[ObjectStore], Any]) -> None:
        """Both answer the same."""
        ours, theirs = self.answers(call)
        assert ours == theirs
