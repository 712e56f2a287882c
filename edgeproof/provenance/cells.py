"""Find cells of the results table by name.

A cell is device/runtime/model/scheme. Its name may have these parts in any order, and parts may be left out if the rest
is unique: 'local/onnx/teacher/fp32' or 'teacher onnx fp32'. The beginning of an artifact's sha256 and a directory of
records are names too. A figure at the end selects the records that it was computed from: the name of a column ('…/p50')
or its key in table.json ('…/p50_ns').
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeproof.core.errors import EdgeproofError, suggest_nearest
from edgeproof.records import record_files, summaries
from edgeproof.records.kinds import ACCURACY
from edgeproof.records.record import Record
from edgeproof.records.session_trust import SessionTrust, find_repeated_sessions
from edgeproof.report import rows
from edgeproof.report.figures import FIGURES, FORMER_NAMES
from edgeproof.report.row import Row

SHOWN_CELLS = 8
# LoadGen's scenario for each figure that is measured, by the name of its column and by its key in table.json. The
# harness is measured with another runtime.
FIGURE_SCENARIOS: dict[str, str] = {
    name: figure.scenario
    for figure in FIGURES.values()
    if figure.scenario is not None and figure.name != "harness"
    for name in (figure.name, figure.field)
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
    def from_record(cls, record: Record) -> CellAddress:
        """Return the cell that a record belongs to."""
        identity = record.identity
        return cls(identity.device, identity.runtime, identity.model, identity.scheme)

    @property
    def words(self) -> set[str]:
        """The parts of its name."""
        return {self.device, self.runtime, self.model, self.scheme}

    def __str__(self) -> str:
        return f"{self.device}/{self.runtime}/{self.model}/{self.scheme}"


@dataclass(frozen=True)
class CellRecords:
    """A cell with the records of its last session, and the figure at the end of its name, if any."""

    address: CellAddress
    records: Sequence[Record]
    figure: str | None

    @property
    def first_record(self) -> Record:
        """The first record of the first training seed's artifact, which the cell stands for."""
        return next((record for record in self.records if not record.identity.is_other_seed), self.records[0])

    def select_figure_records(self) -> list[Record]:
        """Return the records that the figure was computed from, or all records without a figure."""
        if self.figure is None:
            return list(self.records)
        return [record for record in self.records if _has_scenario(record, FIGURE_SCENARIOS[self.figure])]

    def build_row(self, root: Path) -> Row:
        """Return the cell's row of the table. Raises ArtifactError when a record below `root` is damaged."""
        address = self.address
        order = {"devices": [address.device], "models": [address.model], "runtimes": [address.runtime]}
        lines = summaries.summarize_records(self.records, root)
        return rows.build_rows(lines, baseline=address.model, order=order)[0]


def find_cell(text: str, root: Path) -> CellRecords:
    """Return the one cell below `root` that `text` names.

    Raises EdgeproofError, with the names of cells that exist, when it names none or several.
    """
    words = [word for word in re.split(r"[/\s]+", text.strip()) if word]
    directories = _list_directories(root)
    figure = _pop_figure(words, directories)
    if not directories:
        raise EdgeproofError(
            f"{root} holds no records. Measure with 'make repro', or name another directory with --records."
        )
    if text and Path(text).resolve().is_relative_to(root.resolve()) and record_files.list_directories(Path(text)):
        matching = {Path(text): _read_address(Path(text))}
    else:
        matching = _match(words, directories)
    addresses = sorted(set(matching.values()))
    if len(addresses) != 1:
        raise EdgeproofError(_explain_mismatch(text, words, addresses, directories))
    trust = SessionTrust.load(find_repeated_sessions(_list_first_records(root)))
    records = [record for directory in sorted(matching) for record in record_files.read_all(directory, trust=trust)]
    return CellRecords(addresses[0], _select_last_session(records), figure)


def _pop_figure(words: list[str], directories: Sequence[Path]) -> str | None:
    """Remove a figure from the end of the words and return it. A word that is part of a cell's name is not a figure."""
    if not words or words[-1] not in {*FIGURE_SCENARIOS, *FORMER_NAMES}:
        return None
    if any(words[-1] in _read_address(directory).words for directory in directories):
        return None
    if words[-1] in FORMER_NAMES:
        raise EdgeproofError(f"the figure '{words[-1]}' is now called '{FORMER_NAMES[words[-1]]}'.")
    return words.pop()


def list_cells(root: Path) -> list[CellAddress]:
    """Return all cells below `root`, without those of the null runtime, which measures the harness."""
    return sorted({_read_address(directory) for directory in _list_directories(root)})


def _list_directories(root: Path) -> list[Path]:
    """Return the directories with an artifact's records: <session>/<runtime>/<model>.<scheme>."""
    parents = {directory.parent for directory in record_files.list_directories(root)}
    return sorted(directory for directory in parents if directory.parent.name != "null")


def _list_first_records(root: Path) -> list[Path]:
    """Return one record's directory of each artifact in each session."""
    return list({directory.parent: directory for directory in record_files.list_directories(root)}.values())


def _read_address(directory: Path) -> CellAddress:
    return CellAddress.from_record(next(record_files.read_all(directory)))


def _match(words: Sequence[str], directories: Iterable[Path]) -> dict[Path, CellAddress]:
    """Return the directories whose cell has every word, or whose artifact's sha256 begins with the only word."""
    may_be_sha256 = len(words) == 1 and _SHA256.fullmatch(words[0])
    matching = {}
    for directory in directories:
        record = next(record_files.read_all(directory))
        address = CellAddress.from_record(record)
        has_sha256 = may_be_sha256 and record.artifact.sha256.startswith(words[0])
        if words and (has_sha256 or set(words) <= address.words):
            matching[directory] = address
    return matching


def _explain_mismatch(
    text: str, words: Sequence[str], addresses: Sequence[CellAddress], directories: Sequence[Path]
) -> str:
    if addresses:
        names = ", ".join(map(str, addresses[:SHOWN_CELLS])) + (", …" if len(addresses) > SHOWN_CELLS else "")
        return f"'{text}' names {len(addresses)} cells: {names}. Add parts until it names one."
    example = f"A cell is device/runtime/model/scheme, such as {_read_address(directories[0])}."
    known = {word for directory in directories for word in _read_address(directory).words}
    unknown = next((word for word in words if word not in known), None)
    if unknown is None:
        return f"no cell is named '{text}'. {example}"
    message = f"no cell has '{unknown}'.{suggest_nearest(unknown, [*known, *FIGURE_SCENARIOS])} {example}"
    if unknown != words[-1] or len(words) == 1:
        return message
    columns = [name for name in FIGURES if name in FIGURE_SCENARIOS]
    return f"{message} A figure may follow it: {', '.join(columns)}."


def _select_last_session(records: Sequence[Record]) -> list[Record]:
    last = max(records, key=lambda record: record.measured_at).identity.session_id
    return [record for record in records if record.identity.session_id == last]


def _has_scenario(record: Record, scenario: str) -> bool:
    if scenario == ACCURACY:
        return record.identity.is_accuracy
    return record.performance_scenario == scenario
