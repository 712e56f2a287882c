"""Explain why artifact B is slower than A: the time of its operators, conversions, and operators that fall back.

Times come from the profiles in the records. An engine without a profiler, such as LiteRT in Python, has none. Then the
operators are counted, and no time is given.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeproof.core.errors import EdgeproofError
from edgeproof.provenance.cell_pairs import CellPair, find_pair
from edgeproof.provenance.cells import CellRecords
from edgeproof.provenance.scheme_advice import suggest_faster
from edgeproof.records.record import MEASURE_AGAIN
from edgeproof.report.text_table import format_text_table

SHOWN_OPERATORS = 8
MAX_NAME = 200  # of an operator in a placement, which has the end of a longer one
MIN_SHARE = 0.05  # of the time that operators take which are worth replacing
# Types of operators that change the number format or the layout of a tensor and compute nothing, in any engine.
CONVERSIONS = (
    *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast", "ReorderInput", "ReorderOutput"),
    *("Reorder", "Convert", "FakeQuantize", "QUANTIZE", "DEQUANTIZE"),
    *("FloatToInt8", "Int8ToFloat", "Raster"),
)
# Begins the names of OpenVINO's executed nodes that quantize; their type is that of a fused kernel.
QUANTIZER = "FakeQuantize"
# A type and a number, as converters name operators by their place. The same name is another operator in another file.
_NUMBERED = re.compile(r"[A-Za-z]+_\d+")
# The kernels of different number formats for one operator, by the start of their names.
_FAMILIES = {
    "QLinearMatMul": "MatMul",
    "DynamicQuantizeMatMul": "MatMul",
    "MatMulInteger": "MatMul",
    "QGemm": "Gemm",
    "ConvInteger": "Conv",
    "FusedConv": "Conv",
    "FullyConnectedQuantized": "FullyConnected",
    "FusedMatMul": "MatMul",
}


@dataclass(frozen=True)
class CellOperator:
    """An operator of a profile or a placement. The time is 0 without a profile."""

    name: str
    kind: str
    time_ns: float = 0.0

    @property
    def is_conversion(self) -> bool:
        """True if it only changes the number format or the layout of a tensor."""
        return self.kind in CONVERSIONS or self.name.startswith(QUANTIZER)

    @property
    def family(self) -> str:
        """The operator that kernels of all number formats compute, such as Conv for QLinearConv."""
        if self.is_conversion:
            return "conversions"
        family = next((name for start, name in _FAMILIES.items() if self.kind.startswith(start)), self.kind)
        return family.removeprefix("QLinear")


@dataclass(frozen=True)
class OperatorList:
    """The operators of a cell. `missing` is the reason why they have no times, and empty if they have."""

    operators: Sequence[CellOperator]
    missing: str = ""

    @property
    def conversions(self) -> list[CellOperator]:
        """The operators that only change the number format or the layout."""
        return [operator for operator in self.operators if operator.is_conversion]

    @property
    def total_ns(self) -> float:
        """The time of all operators."""
        return sum(operator.time_ns for operator in self.operators)


def explain_slower(a: str, b: str, root: Path) -> str:
    """Return why cell `b` is slower than cell `a`, from their records.

    Raises EdgeproofError if the cells are not two artifacts of one model on one device, the device is an emulator, or
    the records list no operators.
    """
    pair = find_pair(a, b, root)
    _require_times(pair)
    lists = [_read_operators(cell) for cell in (pair.a, pair.b)]
    lines = [*pair.describe("p50"), *_describe_ratio(pair), ""]
    if all(not operators.missing for operators in lists):
        lines += [*_describe_families(*lists), "", *_describe_slowest(*lists), ""]
    else:
        lines += [f"No time per operator of {letter}: {operators.missing}." for letter, operators in _label(lists)]
        lines += [*_count_families(*lists), ""]
    lines += [*_describe_conversions(*lists), *_describe_fallbacks(pair), *_conclude(pair, *lists)]
    return "\n".join(lines)


def _label(lists: Sequence[OperatorList]) -> list[tuple[str, OperatorList]]:
    return [(letter, operators) for letter, operators in zip("AB", lists, strict=True) if operators.missing]


def _require_times(pair: CellPair) -> None:
    """Raise EdgeproofError if the times of the two cells cannot be compared."""
    for cell in (pair.a, pair.b):
        if cell.first_record.card.emulated:
            raise EdgeproofError(
                f"{cell.address} is of an emulator, whose times compare with nothing. Use 'edgeproof explain "
                "--less-accurate', or name cells of a real device."
            )
    if pair.a.address.device != pair.b.address.device:
        raise EdgeproofError(
            f"{pair.a.address} and {pair.b.address} are of different devices. Name two artifacts on one device."
        )


def _read_operators(cell: CellRecords) -> OperatorList:
    """Return the operators of the placement with their times in the profile. Raises EdgeproofError without both.

    A profile leaves out operators that take less than the resolution of its clock.
    """
    missing = "the records have no profile"
    for record in cell.records:
        if record.profile is None and not record.operator_placements:
            continue
        timed = {o.name[-MAX_NAME:]: CellOperator(o.name, o.kind, o.time_ns) for o in record.operators}
        placed = [CellOperator(o.name, o.kind) for o in record.operator_placements if o.name not in timed]
        missing = "" if timed else str((record.profile or {}).get("missing", missing))
        if timed or placed:
            return OperatorList([*timed.values(), *placed], missing)
    raise EdgeproofError(f"the operators of {cell.address} are not known: {missing}. {MEASURE_AGAIN}")


def _describe_ratio(pair: CellPair) -> list[str]:
    a, b = pair.row_a.p50_ns, pair.row_b.p50_ns
    if a is None or b is None:
        return ["The records lack a valid latency of one of them."]
    ratio = b.value / a.value
    if ratio > 1:
        return [f"B takes {ratio:.2f} times as long as A."]
    return [f"B is not slower than A in these records: it takes {ratio:.2f} times as long."]


def _is_slower(pair: CellPair) -> bool:
    a, b = pair.row_a.p50_ns, pair.row_b.p50_ns
    return a is not None and b is not None and b.value > a.value


def _sum_families(operators: OperatorList) -> dict[str, tuple[float, int]]:
    """Return the time in ns and the number of operators by family."""
    sums: dict[str, tuple[float, int]] = defaultdict(lambda: (0.0, 0))
    for operator in operators.operators:
        time_ns, count = sums[operator.family]
        sums[operator.family] = time_ns + operator.time_ns, count + 1
    return sums


def _compare_families(a: OperatorList, b: OperatorList) -> dict[str, float]:
    """Return how much longer each family takes in B than in A, in ns, the largest difference first."""
    ours, theirs = _sum_families(b), _sum_families(a)
    changes = {name: ours.get(name, (0.0, 0))[0] - theirs.get(name, (0.0, 0))[0] for name in {**ours, **theirs}}
    return dict(sorted(changes.items(), key=lambda item: -item[1]))


def _describe_families(a: OperatorList, b: OperatorList) -> list[str]:
    sums = [_sum_families(a), _sum_families(b)]
    rows = []
    for name, change_ns in _compare_families(a, b).items():
        parts = [family.get(name, (0.0, 0)) for family in sums]
        cells = [text for time_ns, count in parts for text in (f"{time_ns / 1000:.1f}", str(count))]
        rows.append([name, "", *cells, f"{change_ns / 1000:+.1f}"])
    headings = ["operators", "", "A, µs", "count", "B, µs", "count", "B − A, µs"]
    return [
        "Time of the operators in one inference, from profiles. Profiling slows an inference down.",
        *format_text_table(headings, rows),
    ]


def _describe_slowest(a: OperatorList, b: OperatorList) -> list[str]:
    """Return the slowest operators of B, with the time of the operator of the same name in A."""
    theirs = {operator.name: operator for operator in a.operators if not _NUMBERED.fullmatch(operator.name)}
    slowest = sorted(b.operators, key=lambda operator: -operator.time_ns)[:SHOWN_OPERATORS]
    rows = [
        [
            operator.name,
            operator.kind,
            f"{operator.time_ns / 1000:.1f}",
            f"{theirs[operator.name].time_ns / 1000:.1f}" if operator.name in theirs else "–",
        ]
        for operator in slowest
    ]
    unmatched = sum(operator.name not in theirs for operator in b.operators)
    return [
        "Slowest operators of B:",
        *format_text_table(["operator", "kind", "B, µs", "A, µs"], rows),
        *([f"Not matched: {unmatched} operators of B have no operator of the same name in A."] if unmatched else []),
    ]


def _count_families(a: OperatorList, b: OperatorList) -> list[str]:
    sums = [_sum_families(a), _sum_families(b)]
    names = dict.fromkeys(name for family in sums for name in family)
    rows = [[name, "", *(str(family.get(name, (0.0, 0))[1]) for family in sums)] for name in names]
    return format_text_table(["operators", "", "A, count", "B, count"], rows)


def _describe_conversions(a: OperatorList, b: OperatorList) -> list[str]:
    """Return the nodes of B that only change the number format or the layout."""
    if not b.conversions:
        return ["B has no conversion between number formats or layouts."]
    counts = Counter(operator.kind for operator in b.conversions)
    kinds = ", ".join(f"{count} × {kind}" for kind, count in counts.items())
    text = f"Conversions: B has {len(b.conversions)} ({kinds}), A has {len(a.conversions)}."
    if b.missing or not b.total_ns:
        return [text]
    time_ns = sum(operator.time_ns for operator in b.conversions)
    return [f"{text} They take {time_ns / 1000:.1f} µs of B, {time_ns / b.total_ns:.0%} of its time."]


def _describe_fallbacks(pair: CellPair) -> list[str]:
    placement = pair.row_b.placement
    if placement is None:
        return ["It is not known where the operators of B run: its records have no placement."]
    lines = [f"On the expected unit: {placement} operators of B."]
    return lines + [f"  {fallback.describe()}" for fallback in placement.fallbacks]


def _conclude(pair: CellPair, a: OperatorList, b: OperatorList) -> list[str]:
    """Return the family that costs most and the schemes to try."""
    lines = []
    if not a.missing and not b.missing:
        name, change_ns = next(iter(_compare_families(a, b).items()))
        if change_ns > 0:
            lines.append(f"The largest loss is in '{name}': {change_ns / 1000:.1f} µs more than in A.")
        elif _is_slower(pair):
            lines.append("No kind of operator takes longer in B than in A. The loss is outside of the operators.")
    address, placement = pair.b.address, pair.row_b.placement
    options = suggest_faster(address.runtime, address.scheme)
    lines += [f"Try {name}: {text}." for name, text in options.items()]
    slow_kinds = [] if placement is None else [fallback.kind for fallback in placement.fallbacks]
    slow_ns = sum(operator.time_ns for operator in b.operators if operator.kind in slow_kinds)
    if slow_kinds and slow_ns >= MIN_SHARE * b.total_ns:  # both are 0 without a profile
        lines.append("Try another runtime, or a network without the operators that fall back.")
    if not options and address.scheme.startswith("int"):
        lines.append(f"Try {pair.a.address.scheme} or fp16 if the integer kernels themselves are slow on this device.")
    return lines
