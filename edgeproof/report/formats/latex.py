"""LaTeX: a tabular with booktabs rules, to be \\input into a document."""

from __future__ import annotations

import itertools
import re

from edgeproof.core.plain_text import escape_controls
from edgeproof.report.grids import Grid, TableCell

SUFFIX = ".tex"
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_"},
    # Characters that fonts of the default encoding lack.
    **{"µ": r"$\mu$", "×": r"$\times$", "Δ": r"$\Delta$", "→": r"$\to$", "–": "--", "≤": r"$\leq$", "±": r"$\pm$"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "◆": r"$\diamond$"},
}


def render(grid: Grid) -> bytes:
    """Return the tabular, scaled down to the line width, with the meaning of its marks and its notes below."""
    columns = "".join("r" if heading.numeric else "l" for heading in grid.headings)
    lines = [
        f"% {_join_words(grid.title)}",
        r"% needs \usepackage[T1]{fontenc} and \usepackage{booktabs,graphicx}",
        r"\begingroup\parindent=0pt",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *_format_groups(grid),
        _format_line([escape(heading.text) for heading in grid.headings]),
        r"\midrule",
        *(_format_line([_format_cell(cell) for cell in line]) for line in grid.lines),
        r"\bottomrule",
        r"\end{tabular}}",
    ]
    if grid.captions:
        lines += ["", r"\par\smallskip\footnotesize " + " ".join(map(escape, grid.captions))]
    lines += [rf"\par\footnotesize $^{{{number}}}$ {escape(text)}" for number, text in enumerate(grid.notes, 1)]
    return ("\n".join([*lines, r"\par\endgroup"]) + "\n").encode()


def escape(text: str) -> str:
    """Return text that LaTeX prints unchanged: no commands, mathematics or paragraphs.

    Characters that its fonts lack become question marks.
    """
    plain = "".join(_SPECIAL.get(character, character) for character in _join_words(text))
    return plain.encode("latin-1", "replace").decode("latin-1")


def _join_words(text: str) -> str:
    """Return text on one line, with control characters escaped."""
    return escape_controls(" ".join(text.split()))


def _format_groups(grid: Grid) -> list[str]:
    """Return a line above the headings that names groups of columns, or nothing without groups."""
    if not any(heading.group for heading in grid.headings):
        return []
    cells, rules, place = [], [], 1
    for group, members in itertools.groupby(grid.headings, key=lambda heading: heading.group):
        width = len(list(members))
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(group)}}}")
        rules += [rf"\cmidrule(lr){{{place}-{place + width - 1}}}"] if group else []
        place += width
    return [_format_line(cells), "".join(rules)]


def _format_line(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _format_cell(cell: TableCell) -> str:
    if cell.is_empty:
        return "--"
    value = _format_minus(escape(cell.value)) if cell.value else rf"\emph{{{escape(cell.refused)}}}"
    value = rf"\textbf{{{value}}}" if cell.best else value
    value = rf"$\diamond$~{value}" if cell.pareto else value
    notes = ",".join(map(str, cell.notes))
    # Braces, because a bracket after a row end would be read as its optional argument.
    interval = rf" {{\scriptsize {_format_minus(cell.interval)}}}" if cell.interval else ""
    return value + (rf"$^{{{notes}}}$" if notes else "") + interval


def _format_minus(number: str) -> str:
    """Return text with a minus sign for the hyphen of a number. Hyphens in words stay."""
    return re.sub(r"(^|[\s\[])-(?=\d)", r"\1$-$", number)
