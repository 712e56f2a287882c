"""The user's private directory: owner, permissions, and the same place for every session of the user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeproof.connection import private_directory
from edgeproof.connection.private_directory import make_private_directory
from edgeproof.core.errors import EdgeproofError


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make private directories below the test's own directory."""
    monkeypatch.setattr(private_directory, "ROOTS", (tmp_path / "missing", tmp_path))
    return tmp_path


def test_only_the_user_may_enter_and_every_session_gets_the_same_directory(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = make_private_directory("locks")
    monkeypatch.setenv("TMPDIR", str(root / "session"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(root / "runtime"))
    assert make_private_directory("locks") == directory == root / f"edgeproof-{os.getuid()}" / "locks"
    assert [path.stat().st_mode & 0o777 for path in (directory, directory.parent)] == [0o700, 0o700]


def test_two_users_have_two_directories(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = make_private_directory("locks")
    monkeypatch.setattr(private_directory.os, "getuid", lambda: 54321)
    with pytest.raises(EdgeproofError, match=f"{root}/edgeproof-54321 belongs to another user"):
        make_private_directory("locks")  # the test cannot make it as that user
    assert own.is_dir()


@pytest.mark.parametrize("part", [".", "ssh"])
def test_a_directory_that_others_can_only_read_is_closed_to_them(root: Path, part: str) -> None:
    directory = make_private_directory("ssh")
    (directory.parent / part).chmod(0o755)
    make_private_directory("ssh")
    assert (directory.parent / part).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
@pytest.mark.parametrize("part", [".", "ssh"])
def test_a_directory_that_others_can_write_is_refused(root: Path, part: str, mode: int) -> None:
    directory = make_private_directory("ssh")
    (directory.parent / part).chmod(mode)
    with pytest.raises(EdgeproofError, match=r"can be written by other users.*rm -r"):
        make_private_directory("ssh")


def test_a_link_or_a_file_in_its_place_is_refused(root: Path) -> None:
    own = root / f"edgeproof-{os.getuid()}"
    (root / "elsewhere").mkdir()
    own.symlink_to(root / "elsewhere")
    with pytest.raises(EdgeproofError, match="is not a directory"):
        make_private_directory("locks")
    own.unlink()
    own.write_text("")
    with pytest.raises(EdgeproofError, match=r"File exists|is not a directory"):
        make_private_directory("locks")


def test_a_socket_of_ssh_fits_into_the_directory() -> None:
    # ssh adds a hash of 40 characters and, while it creates the socket, a suffix of 17. sun_path holds 107.
    for place in (Path("/run/lock"), Path("/tmp")):
        assert len(str(place / "edgeproof-4294967294" / "ssh")) + 1 + 40 + 17 <= 107
