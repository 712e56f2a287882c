"""Tables from records: one as it is asked for, or all saved ones with the site, swapped in whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeproof.config.params import PARAMS, load
from edgeproof.core.directories import write_bytes, write_text, written_whole
from edgeproof.core.errors import ConfigError, EdgeproofError, nearest
from edgeproof.paths import RECORDS
from edgeproof.records import store
from edgeproof.report import selections
from edgeproof.report.formats import FORMATS, render
from edgeproof.report.formats.markdown import block
from edgeproof.report.grids import Grid, grid
from edgeproof.report.rows import Row, rows_of
from edgeproof.report.selections import Selection

BEGINS, ENDS = "<!-- table: begin -->", "<!-- table: end -->"


def rows_for(chosen: Selection, root: Path = RECORDS) -> list[Row]:
    """The rows that a selection needs, from the store as it is, with the baseline's among them."""
    order = order_of(store.names(root))
    check(chosen, order)
    baseline = chosen.baseline or _baseline(order["models"])
    wanted = {**order}
    for kind in ("devices", "models", "runtimes"):
        names = getattr(chosen, kind)
        if names is not None:
            wanted[kind] = [name for name in order[kind] if name in names or (kind == "models" and name == baseline)]
    schemes = None if chosen.schemes is None else {*chosen.schemes, "fp32"}
    return rows_of(store.last_sittings(root, order=wanted, schemes=schemes), baseline=baseline, order=wanted)


def publish(root: Path, place: Path, state: store.State) -> tuple[int, int]:
    """Write the site with every saved selection in every format into `place`, all of it or nothing.

    Returns how many tables and pages it has. Raises EdgeproofError, and then `place` is what it was.
    """
    from edgeproof.site.gather import gather
    from edgeproof.site.pages import build

    order = order_of(store.names(root))
    baseline = _baseline(order["models"])
    facts = gather(root, order=order, baseline=baseline, state=state)
    with written_whole(place) as out:
        tables: dict[str, dict[str, str]] = {}
        for name in selections.names():
            chosen = selections.load(name)
            check(chosen, order)
            same = chosen.baseline in (None, baseline)
            table = grid(facts.rows if same else rows_for(chosen, root), chosen)
            files = {form: f"tables/{name}{module.SUFFIX}" for form, module in FORMATS.items()}
            for form, file in files.items():
                write(out / file, table, form)
            tables[_free(table.title, name, tables)] = files
        pages = build(facts, tables, out, title=_title(facts.rows))
    return sum(map(len, tables.values())), pages


def _free(title: str, name: str, taken: Mapping[str, Any]) -> str:
    return f"{title} ({name})" if title in taken else title


def _title(rows: Sequence[Row]) -> str:
    """The site's name: the study's where its models were measured."""
    try:
        params = load(PARAMS)
    except ConfigError:
        return "edgeproof"
    known = {row.model for row in rows} & set(params.report.models)
    return f"edgeproof · {params.study}" if known else "edgeproof"


def rows_of_table(path: Path) -> list[Row]:
    """The rows of a table.json that `dvc repro` wrote. Raises ConfigError for what is none."""
    try:
        return [Row.from_dict(row) for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is no table.json ({type(error).__name__}: {error}). 'dvc repro' writes one."
        ) from None


def order_of(names: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Names in the study's order, and those that the study doesn't know after them by name."""
    try:
        report = load(PARAMS).report
        known = {"devices": report.devices, "models": report.models, "runtimes": report.runtimes}
    except ConfigError:
        known = {}
    return {
        kind: sorted(found, key=lambda name, kind=kind: (_place(known.get(kind, []), name), name))  # type: ignore[misc]
        for kind, found in names.items()
    }


def _place(known: Sequence[str], name: str) -> int:
    return known.index(name) if name in known else len(known)


def _baseline(models: Sequence[str]) -> str:
    """The study's baseline where it was measured, else the first model."""
    try:
        baseline = load(PARAMS).report.baseline
    except ConfigError:
        baseline = ""
    return baseline if baseline in models else next(iter(models), "")


def check(chosen: Selection, measured: Mapping[str, Sequence[str]]) -> None:
    """Raises EdgeproofError where the selection names what nothing was measured with."""
    for part in selections.PARTS:
        known = measured[f"{part}s"]
        for name in getattr(chosen, f"{part}s") or []:
            if known and name not in known:
                raise EdgeproofError(
                    f"nothing was measured with {part} '{name}'.{nearest(name, known)} Measured: {', '.join(known)}."
                )


def measured_in(rows: Sequence[Row]) -> dict[str, list[str]]:
    """The names that rows have, by kind, in their order."""
    return {f"{part}s": list(dict.fromkeys(getattr(row, part) for row in rows)) for part in selections.PARTS}


def put_between(path: Path, table: Grid) -> None:
    """Write the table between the markers of a Markdown file.

    Raises ConfigError where it has none, and EdgeproofError for a table without lines, which would erase the old one.
    """
    if not table.lines:
        raise EdgeproofError(f"nothing was measured that the table of {path} asks for: it keeps the one it has.")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}.") from None
    if BEGINS not in text or ENDS not in text.partition(BEGINS)[2]:
        raise ConfigError(f"{path} has no {BEGINS} followed by {ENDS}. Put both where the table belongs.")
    before, _, rest = text.partition(BEGINS)
    after = rest.partition(ENDS)[2]
    write_text(path, f"{before}{BEGINS}\n{block(table)}{ENDS}{after}")


def write(path: Path, table: Grid, form: str) -> None:
    """Write the table as a file of its own, all of it or nothing."""
    write_bytes(path, render(table, form))


def form_of(path: Path) -> str:
    """The format that a file's ending asks for. Raises ConfigError for another ending."""
    forms = {module.SUFFIX: form for form, module in FORMATS.items()}
    if path.suffix not in forms:
        raise ConfigError(f"{path}: no format has the ending '{path.suffix}'. Known: {', '.join(sorted(forms))}.")
    return forms[path.suffix]
