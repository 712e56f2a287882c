"""Render one grid in every format: the same values, notes and marks, and no name becomes markup."""

from __future__ import annotations

import csv
import html.parser
import io
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgeproof.config.validation import validate
from edgeproof.report import grids
from edgeproof.report.formats import FORMATS, latex, render
from edgeproof.report.grids import Grid
from edgeproof.report.row import Row
from edgeproof.report.selections import Selection
from edgeproof.statistics.estimates import Estimate
from tests.support.example_rows import row, several

TAGS = {
    *("html", "head", "meta", "title", "style", "body", "main", "h1", "div", "p", "footer", "ol", "li", "a"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td", "span", "b", "sup"),
}
HOSTILE = [
    "a | b <script>alert(1)</script>\nc",
    "\\input{/etc/passwd} $x^2$ % & # _ { } ~",
    '"><img src=x onerror=alert(1)>',
    "=cmd|'/c calc'!A1",
    "](javascript:alert(1))",
    "{{ 7 * 7 }} {% raw %}",
]


def build(*given: list[Row], **chosen: Any) -> Grid:
    return grids.build_grid(given[0] if given else several(), validate(Selection, chosen, "test"))


class Page(html.parser.HTMLParser):
    """The tags of an HTML document, and the text of each table cell."""

    def __init__(self, document: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self._open: list[str] = []
        self.feed(document.decode())

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self.cells.append("")
        if tag not in ("meta", "br", "img", "link"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self._open):
            self.cells[-1] += data


def read_parquet(document: bytes, tmp_path: Path) -> list[dict[str, Any]]:
    (tmp_path / "t.parquet").write_bytes(document)
    answer = duckdb.connect().execute(f"FROM '{tmp_path}/t.parquet'")
    names = [column[0] for column in answer.description]
    return [dict(zip(names, line, strict=True)) for line in answer.fetchall()]


def test_every_format_shows_every_value_of_the_grid(tmp_path: Path) -> None:
    grid = build(columns=["quality", "size", "p50", "verdict"])
    texts = {cell.value for line in grid.lines for cell in line if cell.value}
    for form in ("markdown", "latex", "html"):
        document = render(grid, form).decode().replace(r"\_", "_")
        for text in texts:
            assert text in document, (form, text)
        for note in grid.notes:
            assert note.partition(":")[0] in document
    data = list(csv.DictReader(io.StringIO(render(grid, "csv").decode())))
    assert len(data) == len(grid.data)
    assert float(data[0]["p50_us"]) == 100.0
    assert (float(data[0]["p50_us_low"]), float(data[0]["p50_us_high"])) == (95.0, 105.0)
    assert data[4]["p50_us"] == ""
    assert data[4]["reasons"] == "no kernels"


def test_parquet_has_the_rows_of_the_csv_with_their_types(tmp_path: Path) -> None:
    grid = build()
    lines = read_parquet(render(grid, "parquet"), tmp_path)
    assert lines == [dict(datum) for datum in grid.data]
    assert type(lines[0]["p50_us"]) is float
    assert type(lines[0]["pareto"]) is bool


def test_html_is_accessible_to_screen_readers() -> None:
    page = Page(render(build(rows=["device", "model", "scheme"], across=["runtime"], columns=["p50"]), "html"))
    tags = [tag for tag, _ in page.tags]
    assert ("html", {"lang": "en"}) in page.tags
    assert "caption" in tags
    scopes = {attributes.get("scope") for tag, attributes in page.tags if tag == "th"}
    assert scopes == {"col", "row", "colgroup"}
    targets = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = {attributes["href"] for tag, attributes in page.tags if tag == "a"}
    assert links == {f"#{target}" for target in targets}
    assert not any(tag in ("script", "link", "img") for tag in tags)
    assert "http" not in render(build(), "html").decode()


@pytest.mark.parametrize("form", FORMATS)
def test_no_rows_make_a_document(form: str, tmp_path: Path) -> None:
    document = render(build([]), form)
    if form == "parquet":
        assert read_parquet(document, tmp_path) == []
    elif form in ("markdown", "html"):
        assert b"No measurement matches" in document


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_grid_is_the_same_bytes(form: str) -> None:
    assert render(build(), form) == render(build(), form)


# --- hostile text --------------------------------------------------------------------------------------------------


def build_with_text(text: str) -> Grid:
    """Return a grid with the text as its title, as a model, and as the reason of a refusal."""
    return build([row(text), row(runtime="tflite", verdict="unsupported", reasons=(text,), quality=None)], title=text)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_name_is_text_in_html(text: str) -> None:
    page = Page(render(build_with_text(text), "html"))
    assert {tag for tag, _ in page.tags} <= TAGS
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert text in page.cells
    assert "49" not in "".join(page.cells)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_name_stays_in_its_cell_in_markdown(text: str) -> None:
    document = render(build_with_text(text), "markdown").decode()
    assert "<script" not in document
    assert "<img" not in document
    assert "](" not in document
    lines = [line for line in document.splitlines() if line.startswith("|")]
    assert len({len(re.split(r"(?<!\\)\|", line)) for line in lines}) == 1


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_name_is_neither_a_formula_in_a_spreadsheet_nor_a_command_in_latex(text: str) -> None:
    lines = list(csv.DictReader(io.StringIO(render(build_with_text(text), "csv").decode())))
    assert lines[0]["model"].lstrip("'") == text
    assert not any(value and value.startswith(("=", "+", "@")) for line in lines for value in line.values())
    body = render(build_with_text(text), "latex").decode().split(r"\midrule")[1]
    assert r"\input" not in body
    assert r"\textbackslash{}input" in body or "input" not in text


def test_latex_writes_minus_signs_leaves_the_documents_size_and_indents_nothing() -> None:
    rows = [row(), row("student", quality_difference=Estimate(-0.01, -0.02, 0.001))]
    document = render(build(rows, columns=["quality", "quality_difference"]), "latex").decode()
    assert "$-$1.00" in document
    assert "[$-$2.00, +0.10]" in document
    assert document.count(r"\begingroup") == document.count(r"\endgroup") == 1
    assert document.count("{") == document.count("}")
    assert document.index(r"\begingroup") < document.index(r"\footnotesize") < document.index(r"\endgroup")


def compile_latex(grid: Grid, directory: Path) -> str:
    """Return the output of pdflatex for a document with nothing but the grid."""
    (directory / "table.tex").write_bytes(render(grid, "latex"))
    packages = r"\usepackage[T1]{fontenc}\usepackage[utf8]{inputenc}\usepackage{booktabs,graphicx}"
    document = rf"\documentclass{{article}}{packages}\begin{{document}}\input{{table}}\end{{document}}"
    (directory / "document.tex").write_text(document)
    argv = ["pdflatex", "-draftmode", "-halt-on-error", "-no-shell-escape", "document.tex"]
    process = subprocess.run(
        argv, cwd=directory, capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False
    )
    output = process.stdout.decode(errors="replace")
    assert process.returncode == 0, output
    return output


needs_latex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on PATH")


@needs_latex
@pytest.mark.parametrize("text", [*HOSTILE, "µ × ◆ Δ ± → – ≤ é"])
def test_latex_compiles_with_any_name(text: str, tmp_path: Path) -> None:
    compile_latex(build_with_text(text), tmp_path)


@needs_latex
def test_no_latex_table_is_wider_than_the_line(tmp_path: Path) -> None:
    wide = build(rows=["device", "model", "scheme"], across=["runtime"], columns=["quality", "p50", "p90", "p99"])
    assert "Overfull" not in compile_latex(wide, tmp_path)


@given(st.text())
@example("\\")
@example("$$\\x{}")
def test_latex_prints_any_text_unchanged(text: str) -> None:
    escaped = latex.escape(text)
    rest = escaped
    for command in sorted(set(latex._SPECIAL.values()), key=len, reverse=True):
        rest = rest.replace(command, "")
    assert not re.search(r"[\\{}$&#_%^~]", rest)
    assert "\n" not in escaped
