"""What every ObjectStore keeps. A test class that derives from this has a fixture `store`: an empty one."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.objects import AlreadyThere, Conflict, NoSuchObject, NotSupported, ObjectFacts, ObjectStore, StoreError

BIG = 20_000_003  # bytes: several parts, of which the last is an odd one


def content(size: int) -> bytes:
    """Bytes that are the same nowhere else in them, so that a wrong piece shows."""
    block = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(4096))
    return b"".join(n.to_bytes(8, "big") + block for n in range(size // len(block) + 1))[:size]


class StoreContract:
    """Tests of one record, of files, of listings, and of who is first."""

    def test_a_record_is_read_back_as_it_was_written(self, store: ObjectStore) -> None:
        store.create("jobs/a/spec.json", b"\x00one")
        store.create("jobs/a/empty", b"")
        assert store.read("jobs/a/spec.json") == b"\x00one"
        assert store.read("jobs/a/empty") == b""

    def test_create_is_once(self, store: ObjectStore) -> None:
        store.create("a/b", b"first")
        for data in (b"second", b"first"):
            with pytest.raises(AlreadyThere, match="a/b"):
                store.create("a/b", data)
        assert store.read("a/b") == b"first"

    def test_one_of_eight_creators_wins(self, store: ObjectStore) -> None:

        def race(number: int) -> bool:
            try:
                store.create(f"race/{number // 8}", str(number).encode())
            except AlreadyThere:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(race, range(64)))
        for heat in range(8):
            assert won[heat * 8 : heat * 8 + 8].count(True) == 1
            assert won[int(store.read(f"race/{heat}"))]
        assert len(list(store.keys("race"))) == 8

    def test_what_is_not_there(self, store: ObjectStore, tmp_path: Path) -> None:
        for ask in (store.read, store.read_versioned, store.stat, store.local):
            with pytest.raises(NoSuchObject):
                ask("nothing/here")
        with pytest.raises(NoSuchObject):
            store.read_range("nothing/here", 0, 1)
        with pytest.raises(NoSuchObject):
            store.fetch("nothing/here", tmp_path / "copy")
        with pytest.raises(NoSuchObject):
            store.replace("nothing/here", b"", "any")
        assert list(tmp_path.glob("copy*")) == []
        assert list(store.keys("nothing")) == []
        assert store.list("nothing") == ()
        assert store.children("nothing") == ()
        assert store.erase("nothing") == 0
        store.delete("nothing/here")

    def test_facts_of_an_object(self, store: ObjectStore) -> None:
        store.create("a", b"123")
        facts = store.stat("a")
        assert isinstance(facts, ObjectFacts)
        assert facts.size == 3
        assert facts.modified > 1.7e9
        assert facts == store.stat("a")
        store.create("b", b"124")
        assert store.stat("b").etag != facts.etag
        assert store.read_versioned("a") == (b"123", facts.etag)

    def test_swap_is_for_who_has_read_the_newest(self, store: ObjectStore) -> None:
        store.create("control", b"one")
        _, etag = store.read_versioned("control")
        newer = store.replace("control", b"two", etag)
        assert newer != etag
        with pytest.raises(Conflict, match="control"):
            store.replace("control", b"three", etag)
        assert store.read_versioned("control") == (b"two", newer)
        assert store.read_versioned("control")[1] != store.replace("control", b"four", newer)

    def test_no_swap_is_lost(self, store: ObjectStore) -> None:
        store.create("count", b"0")

        def add(_: int) -> None:
            while True:
                data, etag = store.read_versioned("count")
                try:
                    store.replace("count", str(int(data) + 1).encode(), etag)
                except Conflict:
                    continue
                return

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(add, range(24)))
        assert store.read("count") == b"24"

    def test_ranges(self, store: ObjectStore) -> None:
        store.create("r", bytes(range(100)))
        store.create("empty", b"")
        assert store.read_range("r", 0, 10) == bytes(range(10))
        assert store.read_range("r", 7, 1) == b"\x07"
        assert store.read_range("r", 90, 50) == bytes(range(90, 100))
        assert store.read_range("r", 99, 1) == b"c"
        assert store.read_range("r", 100, 1) == b""
        assert store.read_range("r", 5000, 1) == b""
        assert store.read_range("r", 3, 0) == b""
        assert store.read_range("empty", 0, 10) == b""

    def test_a_version_that_is_gone_is_not_read(self, store: ObjectStore, tmp_path: Path) -> None:
        store.create("film", b"first")
        _, etag = store.read_versioned("film")
        assert store.read_range("film", 1, 2, etag) == b"ir"
        assert store.fetch("film", tmp_path / "film", etag).etag == etag
        store.replace("film", b"other", etag)
        with pytest.raises(Conflict, match="film"):
            store.read_range("film", 1, 2, etag)
        with pytest.raises(Conflict, match="film"):
            store.fetch("film", tmp_path / "film", etag)
        assert (tmp_path / "film").read_bytes() == b"first"
        assert [path.name for path in tmp_path.iterdir() if "film" not in path.name and path.is_file()] == []

    def test_a_big_file_goes_and_comes_back(self, store: ObjectStore, tmp_path: Path) -> None:
        data = content(BIG)
        (tmp_path / "in").write_bytes(data)
        facts = store.put_file("films/in.mp4", tmp_path / "in")
        assert facts.size == BIG
        assert facts == store.stat("films/in.mp4")
        store.fetch("films/in.mp4", tmp_path / "new" / "out")
        assert (tmp_path / "new" / "out").read_bytes() == data
        assert store.read_range("films/in.mp4", BIG - 5, 10, facts.etag) == data[-5:]
        assert store.read_range("films/in.mp4", 10_000_000, 4, facts.etag) == data[10_000_000:10_000_004]

    def test_files_small_and_empty(self, store: ObjectStore, tmp_path: Path) -> None:
        for data in (b"", b"x"):
            (tmp_path / "in").write_bytes(data)
            assert store.put_file(f"f/{len(data)}", tmp_path / "in").size == len(data)
            (tmp_path / "out").write_bytes(b"older and longer")
            store.fetch(f"f/{len(data)}", tmp_path / "out")
            assert (tmp_path / "out").read_bytes() == data
        with pytest.raises(StoreError, match="absent"):
            store.put_file("f/absent", tmp_path / "absent")

    def test_films_that_people_bring_have_names_of_their_own(self, store: ObjectStore, tmp_path: Path) -> None:
        key = "Fälle 2026/Gespräch (1) & 100 %+?.mp4"
        (tmp_path / "in").write_bytes(b"film")
        store.put_file(key, tmp_path / "in")
        assert store.stat(key).size == 4
        assert store.read_range(key, 1, 2) == b"il"
        assert store.list("Fälle 2026") == (key,)
        store.fetch(key, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == b"film"
        store.delete(key)
        assert store.list("") == ()

    def test_listings_are_sorted_and_come_in_pages(self, store: ObjectStore) -> None:
        keys = ["a/0", "a/1/x", "a/1/y", "a/1.b", "a/1-c", "a/10", "a/2/x/y", "ab/x", "b"]
        for key in keys:
            store.create(key, key.encode())
        below_a = tuple(sorted(key for key in keys if key.startswith("a/")))
        assert tuple(store.keys("a")) == below_a
        assert tuple(store.keys("")) == tuple(sorted(keys))
        assert store.list("a") == below_a
        for size in (1, 2, 3, 7, 8):
            pages, after = [], None
            while page := store.list("a", after, size):
                pages.append(page)
                after = page[-1]
            assert [len(page) for page in pages[:-1]] == [size] * (len(pages) - 1)
            assert sum(pages, ()) == below_a
        assert store.list("a", "a/1/x") == below_a[below_a.index("a/1/x") + 1 :]
        assert store.list("a", "a/1/xx", 1) == ("a/1/y",)
        assert store.list("a", "b") == ()
        assert store.list("b") == ()

    def test_children_are_folders(self, store: ObjectStore) -> None:
        for key in ("jobs/b/spec.json", "jobs/b/x/y", "jobs/a-1/spec.json", "jobs/a/spec.json", "jobs/note", "other/x"):
            store.create(key, b"")
        assert store.children("jobs") == ("a", "a-1", "b")
        assert store.children("") == ("jobs", "other")
        assert store.children("jobs/b") == ("x",)
        assert store.children("jobs/b/x") == ()
        store.delete("jobs/b/x/y")
        store.scratch("jobs/c/try/1")
        assert store.children("jobs/b") == ()
        assert store.children("jobs") == ("a", "a-1", "b")

    def test_what_is_deleted_can_be_made_anew(self, store: ObjectStore) -> None:
        store.create("a/x", b"1")
        store.create("a/y", b"2")
        store.delete("a/x")
        assert list(store.keys("")) == ["a/y"]
        with pytest.raises(NoSuchObject):
            store.read("a/x")
        store.create("a/x", b"3")
        assert store.read("a/x") == b"3"

    def test_files_of_a_step_become_objects_at_once(self, store: ObjectStore) -> None:
        scratch = store.scratch("unit/try/1")
        (scratch / "sub").mkdir()
        (scratch / "sub" / "x.npz").write_bytes(b"x")
        (scratch / "y.bin").write_bytes(b"yy")
        assert list(store.keys("unit")) == []
        store.keep(scratch, "unit/try/1")
        assert list(store.keys("unit")) == ["unit/try/1/sub/x.npz", "unit/try/1/y.bin"]
        there = store.local("unit/try/1")
        assert (there / "sub" / "x.npz").read_bytes() == b"x"
        assert (there / "y.bin").read_bytes() == b"yy"
        assert not scratch.exists()

    def test_kept_files_are_never_replaced(self, store: ObjectStore) -> None:
        first = store.scratch("try/1")
        (first / "x").write_bytes(b"first")
        store.keep(first, "try/1")
        second = store.scratch("try/1")
        (second / "x").write_bytes(b"second")
        with pytest.raises(AlreadyThere):
            store.keep(second, "try/1")
        assert store.read("try/1/x") == b"first"

    def test_erase_takes_unfinished_writes_too(self, store: ObjectStore) -> None:
        store.create("jobs/a/x", b"")
        store.create("jobs/ab/x", b"")
        store.create("jobs/b/y", b"")
        scratch, other = store.scratch("jobs/a/try/1"), store.scratch("jobs/ab/try/1")
        assert store.erase("jobs/a") == 1
        assert not scratch.exists()
        assert other.exists()
        assert list(store.keys("")) == ["jobs/ab/x", "jobs/b/y"]
        assert store.erase("") == 2
        assert list(store.keys("")) == []

    @pytest.mark.parametrize(
        "key", ["", "/a", "a/", "a//b", "../a", "a/..", "a/./b", ".a", "a\\b", "a b", "ä", "x" * 600]
    )
    def test_keys_that_could_leave_the_store(self, store: ObjectStore, key: str) -> None:
        with pytest.raises(ValueError, match="not a key"):
            store.create(key, b"")
        with pytest.raises(ValueError, match="not a key"):
            store.replace(key, b"", "etag")

    @pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/..", "a/./b", ".a", "a\x00", "a\nb", "ä" * 600])
    def test_keys_that_nobody_may_bring(self, store: ObjectStore, tmp_path: Path, key: str) -> None:
        for ask in (store.read, store.stat, store.read_versioned, store.delete):
            with pytest.raises(ValueError, match="not a key"):
                ask(key)
        with pytest.raises(ValueError, match="not a key"):
            store.fetch(key, tmp_path / "out")

    def test_stores_without_urls_say_so(self, store: ObjectStore) -> None:
        store.create("a", b"")
        with pytest.raises(NotSupported, match="no URLs"):
            store.presigned("a", 60)
