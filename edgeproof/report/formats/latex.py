"""LaTeX: a tabular with booktabs rules, to be \\input into a document."""

from __future__ import annotations

import itertools
import re

from edgeproof.report.grids import Grid, TableCell

SUFFIX = ".tex"
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_"},
    # What fonts of the default encoding lack.
    **{"µ": r"$\mu$", "×": r"$\times$", "Δ": r"$\Delta$", "→": r"$\to$", "–": "--", "≤": r"$\leq$", "±": r"$\pm$"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "◆": r"$\diamond$"},
}


def render(grid: Grid) -> bytes:
    """The tabular, scaled down where it is wider than the line; below it what its marks mean, and its notes."""
    columns = "".join("r" if heading.numeric else "l" for heading in grid.headings)
    lines = [
        f"% {_plain(grid.title)}",
        r"% needs \usepackage[T1]{fontenc} and \usepackage{booktabs,graphicx}",
        r"\begingroup\parindent=0pt",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *_groups(grid),
        _line([escape(heading.text) for heading in grid.headings]),
        r"\midrule",
        *(_line([_shown(cell) for cell in line]) for line in grid.lines),
        r"\bottomrule",
        r"\end{tabular}}",
    ]
    if grid.captions:
        lines += ["", r"\par\smallskip\footnotesize " + " ".join(map(escape, grid.captions))]
    lines += [rf"\par\footnotesize $^{{{number}}}$ {escape(text)}" for number, text in enumerate(grid.notes, 1)]
    return ("\n".join([*lines, r"\par\endgroup"]) + "\n").encode()


def escape(text: str) -> str:
    """Text that LaTeX sets as it is: no command, no mathematics, no paragraph, and only characters that fonts have."""
    plain = "".join(_SPECIAL.get(character, character) for character in " ".join(text.split()))
    return plain.encode("latin-1", "replace").decode("latin-1")


def _plain(text: str) -> str:
    return " ".join(text.split())


def _groups(grid: Grid) -> list[str]:
    """A line above the headings that says what columns side by side are of."""
    if not any(heading.group for heading in grid.headings):
        return []
    cells, rules, place = [], [], 1
    for group, of in itertools.groupby(grid.headings, key=lambda heading: heading.group):
        width = len(list(of))
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(group)}}}")
        rules += [rf"\cmidrule(lr){{{place}-{place + width - 1}}}"] if group else []
        place += width
    return [_line(cells), "".join(rules)]


def _line(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _shown(cell: TableCell) -> str:
    if cell.empty:
        return "--"
    value = _signed(escape(cell.value)) if cell.value else rf"\emph{{{escape(cell.refused)}}}"
    value = rf"\textbf{{{value}}}" if cell.best else value
    value = rf"$\diamond$~{value}" if cell.pareto else value
    notes = ",".join(map(str, cell.notes))
    # In a group of its own: a bracket at a line's beginning would be the row end's optional argument.
    interval = rf" {{\scriptsize {_signed(cell.interval)}}}" if cell.interval else ""
    return value + (rf"$^{{{notes}}}$" if notes else "") + interval


def _signed(number: str) -> str:
    """A number's hyphen as the minus that it is; words keep theirs."""
    return re.sub(r"(^|[\s\[])-(?=\d)", r"\1$-$", number)
