"""Names that become file names: which ones are refused, wherever they come from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.cli import main
from edgeproof.config import project
from edgeproof.config.cards import Card
from edgeproof.config.file_names import MAX_CHARACTERS, check_file_name
from edgeproof.core.errors import ConfigError, EdgeproofError
from edgeproof.devices import device, locks
from edgeproof.farm import leases, quarantine
from edgeproof.sweeps.store import SweepStore
from tests.support.project import make_empty_project

CARD = Card(transport="local", threads=1)
DANGEROUS = (
    *("", ".", "..", "../x", "a/b", "/etc/passwd", "a\\b", ".hidden", "-rf", "a\0b", "a\nb", "a\n", "a\x1b[2J", "a b"),
    *(
        "\u202egnp",
        "\ud800",
        "x" * (MAX_CHARACTERS + 1),
        "x" * 100_000,
        "ä",
        "a:b",
        "~",
        "$HOME",
        "a*",
        "con.",
        "x\u2028",
    ),
)
# Everything that makes a file of a name that comes from outside.
USES: dict[str, Callable[[str], object]] = {
    "transport": lambda name: device.open_transport(name, CARD),
    "lock": lambda name: locks.hold_for_measuring(name, here=False).__enter__(),
    "lease": lambda name: leases.hold(name, "test").__enter__(),
    "lease holder": leases.describe_holder,
    "quarantine": lambda name: quarantine.add(name, "test"),
    "quarantined": quarantine.find,
    "sweep": SweepStore,
    "point": lambda name: SweepStore("mine").mark_built(name),
    "log of a point": lambda name: SweepStore("mine").open_log(name),
    "parameters of a point": lambda name: SweepStore("mine").load_params(name),
    "devices show": lambda name: main.run(["devices", "show", "--", name]),
    "devices add": lambda name: main.run(["devices", "add", "--transport", "local", "--", name]),
    "devices probe": lambda name: main.run(["devices", "probe", "--", name]),
    "farm run": lambda name: main.run(["farm", "run", f"--name={name}"]),
}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test in an empty project, beside a directory that no name may reach."""
    root = tmp_path / "project"
    make_empty_project(root)
    monkeypatch.chdir(root)
    monkeypatch.setattr(locks, "_get_lock_directory", lambda: tmp_path / "locks")
    return root


def list_files(directory: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if path.is_file() and path.name != project.MARKER.name}


@pytest.mark.parametrize("use", USES)
def test_a_dangerous_name_is_refused_before_any_file_is_touched(tmp_path: Path, use: str) -> None:
    for name in DANGEROUS:
        with pytest.raises(ConfigError, match=r"is not a valid name of a (device|run|sweep|point)\. Use ") as refused:
            USES[use](name)
        assert str(refused.value).isascii()
        assert str(refused.value).isprintable()
        assert len(str(refused.value)) < 400
    assert list_files(tmp_path) == set()


@given(st.text(max_size=120))
def test_a_name_that_is_accepted_is_one_plain_file_in_its_directory(tmp_path: Path, name: str) -> None:
    try:
        accepted = check_file_name("device", name)
    except ConfigError:
        return
    directory = tmp_path / "names"
    directory.mkdir(exist_ok=True)
    (directory / accepted).touch()
    assert (directory / accepted).resolve().parent == directory.resolve()
    assert not accepted.startswith((".", "-"))


@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}", fullmatch=True))
def test_usual_names_are_accepted(name: str) -> None:
    assert check_file_name("run", name) == name


@pytest.mark.parametrize("argv", [["release"], ["status", "--name"], ["regressions", "--run"]])
@pytest.mark.parametrize("name", ["../x", "a\nb", "x" * 300])
def test_a_name_that_is_only_looked_up_reaches_no_file(tmp_path: Path, argv: list[str], name: str) -> None:
    with pytest.raises(EdgeproofError):
        main.run(["farm", *argv, name])
    assert list_files(tmp_path) == set()
