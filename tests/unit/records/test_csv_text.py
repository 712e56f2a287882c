"""CSV text keeps every value, and no text cell is a formula in a spreadsheet."""

from __future__ import annotations

import csv
import datetime
import decimal
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.core.plain_text import escape_controls
from edgeproof.records.csv_text import FORMULA_STARTS, format_csv

NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False), st.booleans(), st.decimals(allow_nan=False))
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
FORMULAS = st.tuples(st.sampled_from(FORMULA_STARTS), TEXTS).map("".join)


def parse(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@given(st.lists(st.one_of(TEXTS, FORMULAS), min_size=1), st.booleans())
def test_text_survives_and_never_begins_like_a_formula(texts: list[str], quote_text: bool) -> None:
    headings = [f"column {number}" for number in range(len(texts))]
    cells = parse(format_csv(headings, [texts], quote_text=quote_text))[1]
    assert not any(cell.startswith(FORMULA_STARTS) for cell in cells)
    for cell, text in zip(cells, texts, strict=True):
        shown = escape_controls(text)
        assert cell == (f"'{shown}" if text.startswith(FORMULA_STARTS) else shown)


@given(st.lists(NUMBERS, min_size=1), st.booleans())
def test_numbers_stay_numbers_with_their_sign(numbers: list[float], quote_text: bool) -> None:
    cells = parse(format_csv(["n"] * len(numbers), [numbers], quote_text=quote_text))[1]
    assert cells == [str(number) for number in numbers]


@pytest.mark.parametrize("number", [np.float64(-1.5), np.int64(-3), decimal.Decimal("-0.25"), float("-inf")])
def test_negative_numbers_of_any_kind_are_not_escaped(number: float) -> None:
    assert not parse(format_csv(["n"], [[number]]))[1][0].startswith("'")


def test_a_heading_is_escaped_like_any_text() -> None:
    assert format_csv(["=1+1", "plain"], []) == "'=1+1,plain\n"


def test_objects_are_escaped_by_their_text() -> None:
    assert format_csv(["age"], [[datetime.timedelta(days=-1)]]) == 'age\n"\'-1 day, 0:00:00"\n'


def test_missing_values_are_empty_cells_and_quotes_are_optional() -> None:
    rows = [["text", 1, None, -2.5]]
    assert format_csv(["a", "b", "c", "d"], rows) == "a,b,c,d\ntext,1,,-2.5\n"
    assert format_csv(["a", "b", "c", "d"], rows, quote_text=True).splitlines()[1].startswith('"text",1,"",-2.5')


@pytest.mark.parametrize("control", ["\0", "\x1b[2J", "\r", "\x9b31m", "\u202e", "\ud800"])
def test_control_characters_are_escaped(control: str) -> None:
    assert parse(format_csv(["a"], [[f"x{control}"]]))[1] == [f"x\\u{ord(control[0]):04x}{control[1:]}"]


def test_line_feeds_and_tabs_stay_within_their_cell() -> None:
    assert parse(format_csv(["a", "b"], [["x\ny", "p\tq"]]))[1:] == [["x\ny", "p\tq"]]
