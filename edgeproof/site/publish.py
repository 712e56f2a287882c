"""Publish the site: all pages, and every saved selection in every format."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from edgeproof.config import cards
from edgeproof.config.params_file import PARAMS, read_params
from edgeproof.core.directories import write_atomically
from edgeproof.core.errors import ConfigError, EdgeproofError
from edgeproof.records import queries, store
from edgeproof.report import selections
from edgeproof.report.formats import FORMATS
from edgeproof.report.grids import build_grid
from edgeproof.report.row import Row
from edgeproof.report.selected_rows import check_selection, choose_baseline, order_names, select_rows
from edgeproof.report.table_files import write_table
from edgeproof.site.gather import gather_facts
from edgeproof.site.pages import build_pages


def publish(root: Path, place: Path, state: store.StoreState) -> tuple[int, int]:
    """Write the site of the records below `root` into the directory `place`, completely or not at all.

    Returns the numbers of table files and of pages. Raises EdgeproofError; then `place` is unchanged.
    """
    order = order_names(queries.list_names(root))
    baseline = choose_baseline(order["models"])
    titles = _read_device_titles(order["devices"])
    facts = gather_facts(root, order=order, baseline=baseline, state=state, device_titles=titles)
    with write_atomically(place) as out:
        tables: dict[str, dict[str, str]] = {}
        for name in selections.list_names():
            chosen = selections.load(name)
            check_selection(chosen, order)
            has_same_baseline = chosen.baseline in (None, baseline)
            table = build_grid(facts.rows if has_same_baseline else select_rows(chosen, root), chosen)
            files = {form: f"tables/{name}{module.SUFFIX}" for form, module in FORMATS.items()}
            for form, file in files.items():
                write_table(out / file, table, form)
            tables[_make_unique(table.title, name, tables)] = files
        pages = build_pages(facts, tables, out, title=_choose_title(facts.rows))
    return sum(map(len, tables.values())), pages


def _read_device_titles(devices: Sequence[str]) -> dict[str, str]:
    """Return the titles of devices whose cards are here and have one."""
    titles = {}
    for device in devices:
        try:
            title = cards.read(device).title
        except EdgeproofError:
            continue
        if title is not None:
            titles[device] = title
    return titles


def _make_unique(title: str, name: str, titles: Collection[str]) -> str:
    return f"{title} ({name})" if title in titles else title


def _choose_title(rows: Sequence[Row]) -> str:
    """Return the site's title, with the study's name if its models have rows."""
    try:
        params = read_params(PARAMS)
    except ConfigError:
        return "edgeproof"
    has_models = bool({row.model for row in rows} & set(params.report.models))
    return f"edgeproof · {params.study}" if has_models else "edgeproof"
