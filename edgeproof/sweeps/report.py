"""A sweep's report, written from what its points left: table, Pareto plots, importance of keys, how to repeat it."""

from __future__ import annotations

import csv
import io
import math
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, stdev

from edgeproof.core.directories import write_json, write_text
from edgeproof.report import plots, tables
from edgeproof.report.rows import Row
from edgeproof.report.tables import NONE, Column
from edgeproof.statistics.intervals import Estimate
from edgeproof.sweeps import results
from edgeproof.sweeps.results import Line
from edgeproof.sweeps.store import Store, axes, label, values

SEED = "seed"
SHOWN_DIGITS = 8
OF_ARTIFACT = ("device", "model", "runtime", "scheme", "verdict", "artifact_sha256")


def write(store: Store, explained: Mapping[str, Mapping[str, float]] | None = None) -> str:
    """Write table.md, table.csv, importance.json and the plots below the sweep; returns the table.

    `explained` is the share of each figure's variance that a key explains, where that was found in another way than
    from the table alone.
    """
    asked = store.asked()
    found = results.of(store)
    keys = axes(asked.points)
    explained = _importance(found, keys, asked.objectives) if explained is None else explained
    text = _markdown(store, found, keys, explained)
    write_text(store.directory / "table.md", text)
    write_text(store.directory / "table.csv", _csv(found, keys))
    write_json(store.directory / "importance.json", explained)
    shown = [replace(line.row, model=label(line.point, keys)) for line in found if line.row is not None]
    plots.scatter_svg(shown, "median latency, µs", _p50_us, store.directory / "accuracy_latency.svg")
    plots.scatter_svg(shown, "file size, bytes", _size_bytes, store.directory / "accuracy_size.svg")
    return text


def _p50_us(row: Row) -> float | None:
    return None if row.p50_ns is None else row.p50_ns.value / 1000


def _size_bytes(row: Row) -> float | None:
    return row.size_bytes


# --- the table ---------------------------------------------------------------------------------------------------


def _markdown(
    store: Store, found: Sequence[Line], keys: Sequence[str], explained: Mapping[str, Mapping[str, float]]
) -> str:
    shown = [[line] for line in found]
    if SEED in keys:
        shown = results.with_front(_by_all_but_seed(found, keys), store.asked())
    columns = [*_columns_of_axes([key for key in keys if key != SEED]), *FIGURES]
    parts = [f"# Sweep `{store.name}`", "", *tables.markdown_table(shown, columns), ""]
    refused = [line for line in found if line.reason]
    if refused:
        parts += ["Without a result, or refused, with the reason:", ""]
        parts += [
            f"- `{line.point.digest[:SHOWN_DIGITS]}` {label(line.point, keys)}: {' '.join(line.reason.split())}"
            for line in refused
        ]
        parts += [""]
    parts += _how_to_read(store, found)
    parts += _importance_table(explained)
    parts += ["", "Any point again, alone, from the same cache:", "", "```sh"]
    parts += list(dict.fromkeys(command(line) for line in found))
    return "\n".join([*parts, "```", ""])


def _columns_of_axes(keys: Sequence[str]) -> list[Column[Sequence[Line]]]:
    def cell(key: str) -> Callable[[Sequence[Line]], str]:
        return lambda group: values(group[0].point).get(key, NONE)

    return [Column("point", _name), *(Column(key, cell(key)) for key in keys)]


def _name(group: Sequence[Line]) -> str:
    """The point's digest (several seeds: the first's), marked where its code differs from its commit."""
    mark = "*" if any(line.changed for line in group) else ""
    more = f" +{len(group) - 1}" if len(group) > 1 else ""
    return f"{group[0].point.digest[:SHOWN_DIGITS]}{more}{mark}"


def _of_row(cell: Callable[[Row], str]) -> Callable[[Sequence[Line]], str]:
    return lambda group: NONE if group[0].row is None else cell(group[0].row)


def _accuracy(group: Sequence[Line]) -> str:
    """With its interval; of several seeds the mean and the sample standard deviation, which is that of training."""
    found = [100 * accuracy for line in group for accuracy in line.accuracies]
    if len(found) > 1:
        return f"{fmean(found):.2f} ± {stdev(found):.2f} ({len(found)} seeds)"
    return _of_row(lambda row: tables.percent_cell(row.accuracy))(group)


def _latency(group: Sequence[Line]) -> str:
    """With its interval; of several points the mean, whose half widths add up as those of independent errors do."""
    found = [line.row.p50_ns for line in group if line.row is not None and line.row.p50_ns is not None]
    if not found:
        return NONE
    value = fmean(estimate.value for estimate in found)
    below = math.hypot(*(estimate.value - estimate.low for estimate in found)) / len(found)
    above = math.hypot(*(estimate.high - estimate.value for estimate in found)) / len(found)
    return tables.us_cell(Estimate(value, value - below, value + above))


def _size(group: Sequence[Line]) -> str:
    found = [line.row.size_bytes for line in group if line.row is not None and line.row.size_bytes is not None]
    return tables.bytes_cell(round(fmean(found)) if found else None)


def _result(group: Sequence[Line]) -> str:
    return ", ".join(dict.fromkeys(line.status if line.row is None else line.row.verdict for line in group))


FIGURES: list[Column[Sequence[Line]]] = [
    Column("device", _of_row(lambda row: row.device)),
    Column("model", _of_row(lambda row: row.model)),
    Column("runtime", _of_row(lambda row: row.runtime)),
    Column("artifact's scheme", _of_row(lambda row: row.scheme)),
    Column("accuracy %", _accuracy),
    Column("p50 µs", _latency),
    Column("file KiB", _size),
    Column("Pareto front", lambda group: "yes" if group[0].front else ""),
    Column("result", _result),
]


def _by_all_but_seed(found: Sequence[Line], keys: Sequence[str]) -> list[list[Line]]:
    groups: dict[tuple[object, ...], list[Line]] = defaultdict(list)
    for line in found:
        given = values(line.point)
        row = line.row
        artifact = (row.device, row.model, row.runtime, row.scheme) if row is not None else (line.status,)
        groups[*(given.get(key) for key in keys if key != SEED), *artifact].append(line)
    return list(groups.values())


def _how_to_read(store: Store, found: Sequence[Line]) -> list[str]:
    asked = store.asked()
    told = [
        "A row is a final artifact of a point, or of one point a seed. Brackets are 95% intervals, ± is the deviation "
        f"over seeds. The Pareto front is that of {', '.join(asked.objectives)} on a device"
        f"{_within(found, asked.limits)}.",
        "",
        _stages_told(store),
        "",
    ]
    changed = {name for line in found for name in line.changed}
    if changed:
        heads = ", ".join(sorted({line.head[:SHOWN_DIGITS] for line in found if line.changed}))
        told += [f"\\* made from a tree that differs from its commit {heads} in {', '.join(sorted(changed))}.", ""]
    return told


def _within(found: Sequence[Line], limits: Mapping[str, float]) -> str:
    if not limits:
        return ""
    told = ", ".join(f"{name} {limit:g}" for name, limit in limits.items())
    if any(results.keeps_to(line, limits) for line in found):
        return f" among rows within the limits ({told})"
    return f"; no row is within the limits ({told}), so it is that of all rows"


def _stages_told(store: Store) -> str:
    """How many stages ran, and that each did once."""
    journal = store.journal()
    ran = Counter((line["stage"], line["key"]) for line in journal if line["outcome"] == "ran")
    again = ran.total() - len(ran)
    how_often = ", each of them once" if again == 0 else f", {again} of them again"
    return f"{len(ran)} stages ran{how_often if ran else ''}; points came to {len(journal)}."


def _importance(found: Sequence[Line], keys: Sequence[str], figures: Sequence[str]) -> dict[str, dict[str, float]]:
    """Of each figure, the share of its variance that a key (or the runtime) explains alone."""
    given = [
        {**{key: values(line.point).get(key, "") for key in keys}, "runtime": line.row.runtime if line.row else ""}
        for line in found
    ]
    return {figure: results.importance(found, given, figure) for figure in figures}


def _importance_table(shares: Mapping[str, Mapping[str, float]]) -> list[str]:
    keys = list(dict.fromkeys(key for of_figure in shares.values() for key in of_figure))
    if not keys:
        return []
    columns = [Column[str]("key", lambda key: key)]
    for figure, of_figure in shares.items():

        def cell(key: str, of: Mapping[str, float] = of_figure) -> str:
            return f"{100 * of[key]:.0f}" if key in of else NONE

        columns.append(Column(f"{figure} %", cell))
    return ["Share of each figure's variance that a key explains alone:", "", *tables.markdown_table(keys, columns)]


def command(line: Line) -> str:
    """What runs a line's point again."""
    return shlex.join(["edgeproof", "repro", *line.point.overrides])


def _csv(found: Sequence[Line], keys: Sequence[str]) -> str:
    """A line an artifact, with everything that a program may want to know of it."""
    flat = [_flat(line, keys) for line in found]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(flat[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return stream.getvalue()


def _flat(line: Line, keys: Sequence[str]) -> dict[str, object]:
    given = values(line.point)
    return {
        "point": line.point.digest,
        "status": line.status,
        **{key: given.get(key, "") for key in keys},
        **{f"of_{name}": getattr(line.row, name, "") for name in OF_ARTIFACT},
        **{name: line.figure(name) for name in results.MORE_IS_BETTER},
        "pareto": line.front,
        "models_sha256": " ".join(f"{name}:{sha256}" for name, sha256 in line.models),
        "commit": line.head,
        "changed_since_commit": " ".join(line.changed),
        "reason": line.reason,
        "command": command(line),
    }
