"""Control, direction and surrogate characters are escaped; everything else stays."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.core.plain_text import escape_controls


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("5 µs × 3 → ◆ é 漢字 🙂", "5 µs × 3 → ◆ é 漢字 🙂"),
        ("a\nb\tc", "a\nb\tc"),
        ("\x1b[31mred\x1b[0m", "\\u001b[31mred\\u001b[0m"),
        ("\x1b]0;title\x07", "\\u001b]0;title\\u0007"),
        ("a\rb\x08c\x7f\x9b", "a\\u000db\\u0008c\\u007f\\u009b"),
        ("abc\u202efed", "abc\\u202efed"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("lines\u2028\u2029", "lines\\u2028\\u2029"),
        ("lone \udc80", "lone \\udc80"),
        ("tag \U000e0041", "tag \\udb40\\udc41"),
    ],
)
def test_only_hidden_characters_are_escaped(text: str, shown: str) -> None:
    assert escape_controls(text) == shown


@given(st.text(st.characters(codec=None)))
def test_the_result_is_harmless_and_escaping_again_changes_nothing(text: str) -> None:
    shown = escape_controls(text)
    assert {unicodedata.category(letter) for letter in shown if letter not in "\n\t"} & {
        "Cc",
        "Cf",
        "Cs",
        "Zl",
    } == set()
    assert escape_controls(shown) == shown
    shown.encode()


@given(st.text(st.characters(codec="utf-8")))
def test_json_stays_the_same_value(text: str) -> None:
    document = json.dumps(text, ensure_ascii=False)
    assert json.loads(escape_controls(document)) == text


def test_further_characters_can_be_kept_or_given_up() -> None:
    assert escape_controls("a\r\n", keep="\r\n") == "a\r\n"
    assert escape_controls("a\n", keep="") == "a\\u000a"
