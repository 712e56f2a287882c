"""Cells of the table by name: device/runtime/model/scheme, in any order and with whatever parts tell it from the rest.

'local/onnx/teacher/fp32', 'teacher onnx fp32', the beginning of an artifact's sha256 and a directory of records all
name a cell; a figure's name at the end ('…/p50_ns') asks for the records that this figure came from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgeproof.core.errors import EdgeproofError, suggest_nearest
from edgeproof.records import record_files
from edgeproof.records.record_files import Record
from edgeproof.records.summaries import MULTI_STREAM, OFFLINE, SERVER, SINGLE_STREAM

SHOWN = 8
# Which of LoadGen's scenarios a figure of the table is computed from.
FIGURES = {
    "accuracy": record_files.ACCURACY,
    "multi_stream_p99_ns": MULTI_STREAM,
    "offline_samples_per_s": OFFLINE,
    "server_samples_per_s": SERVER,
    **dict.fromkeys(
        ("p50_ns", "p90_ns", "p99_ns", "invoke_p50_ns", "load_ns", "first_inference_ns", "peak_rss_bytes", "energy_uj"),
        SINGLE_STREAM,
    ),
}
_SHA256 = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True, order=True)
class CellAddress:
    """One artifact on one device."""

    device: str
    runtime: str
    model: str
    scheme: str

    @classmethod
    def of(cls, record: Record) -> CellAddress:
        """The cell that a record belongs to."""
        return cls(*(str(record.content[part]) for part in ("device", "runtime", "model", "scheme")))

    @property
    def words(self) -> set[str]:
        """What it is named by."""
        return {self.device, self.runtime, self.model, self.scheme}

    def __str__(self) -> str:
        return f"{self.device}/{self.runtime}/{self.model}/{self.scheme}"


@dataclass(frozen=True)
class CellRecords:
    """A cell with its records, and the figure that was asked for, if any."""

    cell: CellAddress
    records: list[Record]
    figure: str | None

    def asked(self) -> list[Record]:
        """The records that the figure came from; all where none was named."""
        if self.figure is None:
            return self.records
        return [record for record in self.records if _tells(record, FIGURES[self.figure])]


def find_cell(text: str, root: Path) -> CellRecords:
    """The one cell below `root` that `text` names. Raises EdgeproofError saying what exists, or what it may mean."""
    words = [word for word in re.split(r"[/\s]+", text.strip()) if word]
    figure = words.pop() if words and words[-1] in FIGURES else None
    places = _places(root)
    if not places:
        raise EdgeproofError(f"{root} holds no records. Measure with 'make repro', or name another place: --records.")
    if text and Path(text).resolve().is_relative_to(root.resolve()) and record_files.list_directories(Path(text)):
        chosen = {Path(text): CellAddress.of(next(record_files.read_all(Path(text))))}
    else:
        chosen = _named(words, places)
    cells = sorted(set(chosen.values()))
    if len(cells) != 1:
        raise EdgeproofError(_unclear(text, words, cells, places))
    found = [record for place in sorted(chosen) for record in record_files.read_all(place)]
    return CellRecords(cells[0], _last_sitting(found), figure)


def list_cells(root: Path) -> list[CellAddress]:
    """All cells below `root`, but those of the null runtime, which measures the harness."""
    return sorted({_cell(place) for place in _places(root)})


def _places(root: Path) -> list[Path]:
    """The directories that hold an artifact's records: <session>/<runtime>/<model>.<scheme>."""
    return sorted(
        {directory.parent for directory in record_files.list_directories(root) if directory.parent.parent.name != "null"}
    )


def _cell(place: Path) -> CellAddress:
    return CellAddress.of(next(record_files.read_all(place)))


def _named(words: list[str], places: Iterable[Path]) -> dict[Path, CellAddress]:
    """The places whose cell carries every word, or whose artifact's sha256 begins with the only one."""
    by_hash = len(words) == 1 and _SHA256.fullmatch(words[0])
    found = {}
    for place in places:
        record = next(record_files.read_all(place))
        cell = CellAddress.of(record)
        hashed = by_hash and str(record.content["artifact"]["sha256"]).startswith(words[0])
        if words and (hashed or set(words) <= cell.words):
            found[place] = cell
    return found


def _unclear(text: str, words: list[str], cells: list[CellAddress], places: list[Path]) -> str:
    if cells:
        shown = ", ".join(map(str, cells[:SHOWN])) + (", …" if len(cells) > SHOWN else "")
        return f"'{text}' names {len(cells)} cells: {shown}. Add what tells yours apart, or its whole name."
    known = {word for place in places for word in _cell(place).words}
    stranger = next((word for word in words if word not in known), None)
    if stranger is None:
        return f"no cell is named '{text}'. A cell is device/runtime/model/scheme, such as {_cell(places[0])}."
    return (
        f"no cell has '{stranger}'.{suggest_nearest(stranger, known)} A cell is device/runtime/model/scheme, such as "
        f"{_cell(places[0])}."
    )


def _last_sitting(found: list[Record]) -> list[Record]:
    last = max(found, key=lambda record: str(record.content["measured_at"])).content["session_id"]
    return [record for record in found if record.content["session_id"] == last]


def _tells(record: Record, scenario: str) -> bool:
    """Whether a figure of this scenario comes from the record."""
    if scenario == record_files.ACCURACY or record.content["scenario"] == record_files.ACCURACY:
        return bool(scenario == record.content["scenario"])
    return record.content.get("job", {}).get("scenario") == scenario and not record.content.get("compliance")
