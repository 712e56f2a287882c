"""Explain a cell of the table in words: its figures, what it was made from, and how to make it again."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeproof.core.errors import ArtifactError
from edgeproof.provenance.cells import CellRecords
from edgeproof.provenance.lineage import LineageLink, list_record_problems, trace_lineage
from edgeproof.provenance.stored import SHA256_DIGITS
from edgeproof.records import kinds, record_files
from edgeproof.records.session_checks import list_missing
from edgeproof.records.session_trust import SessionTrust, get_session_directory
from edgeproof.report.figures import choose_figure
from edgeproof.report.origin import describe_role

SHOWN_FIGURES = ("quality", "p50", "p99", "size")
SHOWN_OPERATORS = 5


def explain(cell: CellRecords, root: Path) -> str:
    """Return the explanation of a cell, with the command that makes it again in the last line.

    Raises ArtifactError when a record of one of its ancestors below `root` is damaged.
    """
    links = trace_lineage(cell, root)
    figure = f", figure {cell.figure}" if cell.figure else ""
    lines = [
        f"cell {cell.address}{figure}",
        f"  {_describe_figures(cell, root)}",
        *_describe_profile(cell),
        *_describe_placement(cell),
        *_describe_preprocessing(cell),
    ]
    lines += _describe_links(links)
    is_external = cell.records[0].artifact.model.method == kinds.EXTERNAL_METHOD
    for link in links:
        if link.missing:
            lines.append(
                f"missing: {link.role} {link.name} ({link.sha256[:SHA256_DIGITS]}) is not on this machine and no "
                "record describes it, so its own lineage is unknown."
                + ("" if is_external else " Run 'dvc pull' or 'dvc repro' to restore it.")
            )
    lines += [f"warning: {problem}" for problem in _list_missing_records(cell)]
    if is_external:
        return "\n".join([*lines, "measure it again: edgeproof bench"])
    return "\n".join([*lines, f"make it again: edgeproof reproduce {cell.address}"])


def list_problems(cell: CellRecords) -> list[str]:
    """Return the contradictions in the cell's records, and the records that their sessions lack."""
    problems = [problem for record in cell.select_figure_records() for problem in list_record_problems(record)]
    return problems + _list_missing_records(cell)


def _list_missing_records(cell: CellRecords) -> list[str]:
    sessions = sorted({get_session_directory(record.directory) for record in cell.records})
    trust = SessionTrust(None, {})  # only the names and numbers of the records count here
    return [
        problem
        for session in sessions
        for problem in list_missing(session, list(record_files.read_all(session, damaged=[], trust=trust)))
    ]


def _describe_links(links: Sequence[LineageLink]) -> list[str]:
    lines = []
    previous: Mapping[str, str] = {}
    for link in links:
        indent = "  " * link.depth
        heading = f"{indent}└ {describe_role(link.role)} {link.name}  sha256 {link.sha256[:SHA256_DIGITS] or 'unknown'}"
        if link.outcome:
            heading += f"  {link.stored.state}; {link.outcome}"
            # The records of one session share most facts. Each fact is given once, until it changes.
            facts = {name: text for name, text in link.facts.items() if previous.get(name) != text}
            previous = link.facts
        else:
            place = {} if link.stored.path is None else {"at": f"{link.stored.path}, {link.stored.state}"}
            facts = {**place, **link.facts}
        lines += [heading, *(f"{indent}    {name}: {text}" for name, text in facts.items())]
    return lines


def _describe_figures(cell: CellRecords, root: Path) -> str:
    """Return the main figures of the cell's row."""
    try:
        row = cell.build_row(root)
    except ArtifactError as error:
        return f"no figure: {error}"
    figures = [choose_figure(name, [row]) for name in SHOWN_FIGURES]
    texts = [" ".join(filter(None, (figure.heading, figure.unit, figure.format_row_cell(row)))) for figure in figures]
    return ", ".join([*texts, f"verdict {row.verdict}"])


def _describe_profile(cell: CellRecords) -> list[str]:
    """Return the slowest operators, if a profile was taken."""
    profiles = [record.operators for record in cell.records if record.profile is not None]
    operators = profiles[-1] if profiles else []
    total_ns = sum(operator.time_ns for operator in operators)
    slowest = sorted(operators, key=lambda operator: -operator.time_ns)[:SHOWN_OPERATORS]
    shares = [f"{operator.kind} {operator.name} {operator.time_ns / total_ns:.0%}" for operator in slowest if total_ns]
    return [f"  slowest operators: {', '.join(shares)}"] if shares else []


def _describe_placement(cell: CellRecords) -> list[str]:
    """Return how many operators run on the expected unit, and the fallbacks with their reasons."""
    placements = [record.placement for record in cell.records if record.placement is not None]
    if not placements:
        return []
    lines = [f"  operators on the expected unit: {placements[-1]}"]
    return lines + [f"    {fallback.describe()}" for fallback in placements[-1].fallbacks]


def _describe_preprocessing(cell: CellRecords) -> list[str]:
    """Return the median time of preprocessing with what was preprocessed, or the reason why it is missing.

    The times of an emulator are no measurements.
    """
    records = [record for record in cell.records if not record.card.emulated]
    measured = [record.preprocessing for record in records if record.preprocessing is not None]
    if not measured:
        return []
    last = measured[-1]
    if last.missing is not None or not last.durations_ns:
        return [f"  preprocessing: not measured: {last.missing}"]
    median_us = statistics.median(last.durations_ns) / 1000
    return [f"  preprocessing: p50 {median_us:,.4g} µs of {len(last.durations_ns)} raw inputs ({last.raw_inputs})"]
