"""Users, roles and tokens."""

import pytest

from cluster.book import Card
from cluster.credentials import CACHED
from cluster.users import NoSuchUser, NotAllowed, Role, User, Users
from storage.memory import MemoryStore


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def users(store: MemoryStore, clock: Clock) -> Users:
    return Users(store, clock)


def everything(store: MemoryStore) -> bytes:
    return b"".join(key.encode() + store.read(key) for key in store.keys(""))


def test_the_first_start_makes_an_admin_and_later_ones_dont(users: Users) -> None:
    text = users.first()
    assert text is not None
    found = users.who(text)
    assert found is not None
    assert (found.name, found.role) == ("admin", Role.ADMIN)
    assert users.first() is None


def test_a_token_is_not_in_the_store(users: Users, store: MemoryStore) -> None:
    users.add("kim", Role.VIEWER)
    text, token = users.issue("kim", "laptop")
    secret = text.removeprefix(f"vf_{token.id}_")
    assert len(secret) == 43
    assert secret.encode() not in everything(store)
    assert text != users.issue("kim")[0]


@pytest.mark.parametrize("spoil", ["last", "id", "short", "long", "empty", "word"])
def test_only_the_very_token_counts(users: Users, spoil: str) -> None:
    users.add("kim", Role.VIEWER)
    text, _ = users.issue("kim")
    other, _ = users.issue("kim")
    assert users.who(text) is not None
    bad = {
        "last": text[:-1] + ("A" if text[-1] != "A" else "B"),
        "id": other[:30] + text[30:],
        "short": text[:-1],
        "long": text + "A",
        "empty": "",
        "word": "vf_../../users/kim_" + text[30:],
    }
    assert users.who(bad[spoil]) is None


def test_tokens_end(users: Users, clock: Clock) -> None:
    users.add("kim", Role.VIEWER)
    text, _ = users.issue("kim", days=2)
    clock.now += 2 * 86400 - 1
    assert users.who(text) is not None
    clock.now += 1
    assert users.who(text) is None


def test_a_revoked_token_counts_no_more_here_at_once_and_elsewhere_soon(
    users: Users, store: MemoryStore, clock: Clock
) -> None:
    users.add("kim", Role.VIEWER)
    text, token = users.issue("kim")
    elsewhere = Users(store, clock)
    assert users.who(text) is not None
    assert elsewhere.who(text) is not None
    users.revoke(token.id)
    assert users.who(text) is None
    clock.now += CACHED
    assert elsewhere.who(text) is None
    assert users.token(token.id).revoked == 1000.0
    users.revoke(token.id)
    assert users.token(token.id).revoked == 1000.0


def test_who_is_disabled_or_removed_gets_in_no_more(users: Users) -> None:
    users.add("kim", Role.SUBMITTER)
    text, token = users.issue("kim")
    users.change("kim", disabled=True)
    assert users.who(text) is None
    users.change("kim", disabled=False)
    assert users.who(text) is not None
    users.remove("kim")
    assert users.who(text) is None
    with pytest.raises(NoSuchUser):
        users.token(token.id)


def test_a_role_that_changes_counts_at_once(users: Users) -> None:
    users.add("kim", Role.VIEWER)
    text, _ = users.issue("kim")
    assert not users.who(text).may(Role.SUBMITTER)  # type: ignore[union-attr]
    users.change("kim", role=Role.SUBMITTER)
    assert users.who(text).may(Role.SUBMITTER)  # type: ignore[union-attr]


def test_the_last_admin_stays(users: Users) -> None:
    users.first()
    for spoil in (
        lambda: users.remove("admin"),
        lambda: users.change("admin", role=Role.VIEWER),
        lambda: users.change("admin", disabled=True),
    ):
        with pytest.raises(NotAllowed, match="last admin"):
            spoil()
    users.add("second", Role.ADMIN)
    users.change("admin", role=Role.VIEWER)
    with pytest.raises(NotAllowed):
        users.remove("second")


@pytest.mark.parametrize("name", ["", "Kim", "../admin", "a/b", ".hidden", "a" * 64, "kim\n", "kim kim", "ä"])
def test_names_that_cant_be_keys_are_refused(users: Users, name: str) -> None:
    with pytest.raises(NotAllowed):
        users.add(name, Role.VIEWER)
    with pytest.raises(NoSuchUser):
        users.user(name)
    with pytest.raises(NoSuchUser):
        users.token(name)


def test_a_name_is_taken_once(users: Users) -> None:
    users.add("kim", Role.VIEWER)
    with pytest.raises(NotAllowed, match="already"):
        users.add("kim", Role.ADMIN)
    assert users.user("kim").role is Role.VIEWER
    assert [user.name for user in users.users()] == ["kim"]


@pytest.mark.parametrize(
    ("name", "role", "team", "sees", "changes"),
    [
        ("me", Role.VIEWER, "", True, False),
        ("me", Role.SUBMITTER, "", True, True),
        ("other", Role.SUBMITTER, "", False, False),
        ("other", Role.REVIEWER, "", False, False),
        ("other", Role.SUBMITTER, "news", True, False),
        ("other", Role.REVIEWER, "news", True, True),
        ("other", Role.REVIEWER, "sport", False, False),
        ("other", Role.ADMIN, "", True, True),
    ],
)
def test_who_sees_and_changes_a_job(name: str, role: Role, team: str, sees: bool, changes: bool) -> None:
    user, card = User(name, role, team, 0.0), Card("film.mp4", "me", 0.0, (), "news")
    assert (user.sees(card), user.changes(card)) == (sees, changes)


def test_no_team_is_nobodys_team() -> None:
    assert not User("other", Role.REVIEWER, "", 0.0).sees(Card("film.mp4", "me", 0.0, (), ""))
