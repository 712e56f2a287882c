"""No format of a table passes on control characters, colours of terminals or changes of the writing direction."""

from __future__ import annotations

import dataclasses
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgeproof.config.validation import validate
from edgeproof.report import grids
from edgeproof.report.formats import FORMATS, render
from edgeproof.report.markdown_text import escape, escape_lines
from edgeproof.report.selections import Selection
from tests.support.example_rows import row

HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
HOSTILE = (
    "\x1b[2J\x1b]0;owned\x07 \x9b31m \r\x08\x00 \u202egnp.exe \u2066\u200b\ufeff\u2028\u2029\x85 \udc80 \U000e0041"
)
TEXTS = st.text(st.characters(codec=None), max_size=30)


def list_hidden(document: str) -> list[str]:
    """Return the hidden characters of a document. Line feeds and tabs are none."""
    return [letter for letter in document if letter not in "\n\t" and unicodedata.category(letter) in HIDDEN]


@settings(max_examples=40, deadline=None)
@given(TEXTS, TEXTS, TEXTS)
@example(HOSTILE, HOSTILE, HOSTILE)
def test_no_text_format_passes_on_hidden_characters(model: str, reason: str, title: str) -> None:
    rows = [
        dataclasses.replace(row(), model=f"m{model}", device=f"d{model}"),
        dataclasses.replace(row(), model=f"n{model}", verdict="invalid", reasons=(reason,)),
    ]
    grid = grids.build_grid(rows, validate(Selection, {"title": f"t{title}"}, "test"))
    for form in sorted(set(FORMATS) - {"parquet"}):
        assert list_hidden(render(grid, form).decode()) == [], form
    assert render(grid, "parquet")


@given(TEXTS)
@example(HOSTILE)
def test_markdown_text_has_no_hidden_characters(text: str) -> None:
    assert list_hidden(escape(text)) == []
    assert list_hidden(escape_lines([text])) == []
    assert escape_lines([text, text]).count("\n") == 2


@pytest.mark.parametrize("form", sorted(set(FORMATS) - {"parquet"}))
def test_hidden_characters_are_shown_not_dropped(form: str) -> None:
    grid = grids.build_grid([dataclasses.replace(row(), model="m\x1b[31m")], validate(Selection, {}, "test"))
    document = render(grid, form).decode().replace(r"\textbackslash{}", "\\")
    assert "m\\u001b[31m" in document
