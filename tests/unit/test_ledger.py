"""The job's own secret."""

from pathlib import Path

import pytest

from cluster.ledger import SECRET_BYTES, secret_in
from storage.objects import StoreError


@pytest.mark.parametrize("links", [True, False])
def test_a_secret_is_made_once_and_for_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:

        def refuse(*args: object) -> None:
            raise PermissionError

        monkeypatch.setattr("os.link", refuse)
    path = secret_in(tmp_path)
    first = path.read_bytes()
    assert len(first) == SECRET_BYTES
    assert path.stat().st_mode & 0o077 == 0
    assert secret_in(tmp_path).read_bytes() == first
    assert [each.name for each in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize("length", [0, SECRET_BYTES - 1])
def test_half_a_secret_is_none(tmp_path: Path, length: int) -> None:
    (tmp_path / "secret").write_bytes(b"0" * length)
    with pytest.raises(StoreError, match="secret is damaged"):
        secret_in(tmp_path)
