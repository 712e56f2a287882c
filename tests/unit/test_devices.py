"""Device cards: one YAML a device, checked before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeproof import devices
from edgeproof.core.errors import ConfigError, UnknownName


@pytest.fixture
def cards(tmp_path: Path) -> Path:
    (tmp_path / "desk.yaml").write_text("transport: local\nthreads: 4\n")
    return tmp_path


def test_a_card_is_read_with_its_defaults(cards: Path) -> None:
    card = devices.card("desk", cards)
    assert (card.transport, card.threads, card.python) == ("local", 4, None)
    assert card.timeout_s > 0


def test_an_unknown_device_is_refused_with_the_nearest_and_the_file_to_add(cards: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown device 'desc'\. Did you mean 'desk'\?") as caught:
        devices.card("desc", cards)
    assert "desc.yaml" in str(caught.value)


def test_where_there_are_no_cards_none_are_known(tmp_path: Path) -> None:
    assert devices.names(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("transport: local\n", "threads: Field required"),
        ("transport: local\nthreads: 0\n", "threads"),
        ("transport: local\nthreads: 1000\n", "threads"),
        ("transport: local\nthreads: '4'\n", "threads"),
        ("transport: local\nthreads: 1\ntimeout_s: 0\n", "timeout_s"),
        ("transport: local\nthreads: 1\ntimeout: 5\n", "Did you mean 'timeout_s'?"),
        ("transport: ../local\nthreads: 1\n", "transport"),
        ("threads: [1\n", "not YAML"),
        ("", "problem"),
        ("- transport\n", "problem"),
    ],
)
def test_a_wrong_card_is_refused_by_its_file_and_key(cards: Path, text: str, told: str) -> None:
    (cards / "board.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        devices.card("board", cards)
    assert "board.yaml" in str(caught.value)
    assert told in str(caught.value)


def test_a_card_that_is_not_text_is_refused(cards: Path) -> None:
    (cards / "board.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match=r"board\.yaml"):
        devices.card("board", cards)


def test_an_unknown_transport_is_refused_with_those_that_exist(cards: Path) -> None:
    (cards / "board.yaml").write_text("transport: locl\nthreads: 1\n")
    with pytest.raises(UnknownName, match=r"unknown transport 'locl'\. Did you mean 'local'\?"):
        devices.card("board", cards)
