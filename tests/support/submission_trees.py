"""Copies of recorded official runs, submissions made from them, and edits of both.

tests/fixtures/submission/short contains real LoadGen runs of a fraction of a second, made by make.py.
tests/fixtures/submission/official contains runs of 600 seconds.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from edgeproof.submission import selection
from edgeproof.submission.rules import Suite
from edgeproof.submission.submit import write
from edgeproof.submission.system_description import SubmissionInfo

FIXTURES = Path(__file__).parents[1] / "fixtures" / "submission"
SHORT, OFFICIAL = FIXTURES / "short", FIXTURES / "official"
INFO = SubmissionInfo("Example", "rdi", {}, "0123abc")
# Slightly less than the duration of the shortest run in SHORT.
SHORT_MS = 29
SCENARIO = "open/Example/results/local-busy/small-fp32/SingleStream"
PERFORMANCE = f"{SCENARIO}/performance/run_1/mlperf_log_detail.txt"
MEASUREMENTS = f"{SCENARIO}/measurements.json"
TINY = "open/Example/results/local-busy-small-fp32/ic"


def copy_records(target: Path, source: Path = SHORT) -> Path:
    """Copy a fixture's records to `target` and unpack their accuracy logs."""
    shutil.copytree(source, target)
    for packed in target.rglob("*.gz"):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    return target


def record_directory(root: Path, scenario: str) -> Path:
    """Return the directory of one of the short records."""
    return root / "local_busy" / "busy" / "small.fp32" / f"{scenario}.0"


def write_tree(target: Path, records: Path, suite: Suite = "inference") -> Path:
    """Write the submission of the given records without validating it."""
    write(target, selection.select(records, suite), INFO, suite, "resnet" if suite == "inference" else "ic")
    return target


def replace_text(path: Path, old: str, new: str) -> None:
    """Replace `old`, which must be there, in a text file."""
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path} has no {old!r}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def change_log(path: Path, **values: Any) -> None:
    """Change the values of keys that a LoadGen detail log contains."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line.removeprefix(":::MLLOG "))
        if entry["key"] in values:
            entry["value"] = values[entry["key"]]
        lines.append(f":::MLLOG {json.dumps(entry)}\n")
    text = "".join(lines)
    assert all(f'"key": "{key}"' in text for key in values)
    path.write_text(text, encoding="utf-8")


def set_keys(path: Path, **values: Any) -> None:
    """Set keys of a JSON file; None removes a key."""
    content = json.loads(path.read_text(encoding="utf-8"))
    content.update(values)
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}), encoding="utf-8")


def update_origins(root: Path, scenario: str = SCENARIO) -> None:
    """Write the sha256 of changed logs into measurements.json, like somebody who falsifies logs."""
    directory = root / scenario
    content = json.loads((directory / "measurements.json").read_text())
    for run, origin in content["runs"].items():
        place = directory / {"performance": "performance/run_1", "accuracy": "accuracy"}.get(
            run, f"{run}/performance/run_1"
        )
        for name in origin["files"]:
            path = directory / name if name == "user.conf" else place / name
            if path.is_file() and name != "mlperf_log_accuracy.json":
                origin["files"][name] = hashlib.sha256(path.read_bytes()).hexdigest()
    (directory / "measurements.json").write_text(json.dumps(content))


def update_record_hashes(directory: Path) -> None:
    """Write the sha256 of a record's changed files into its record.json."""
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.iterdir()
        if path.name != "record.json"
    }
    set_keys(directory / "record.json", files=files)
