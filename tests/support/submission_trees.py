"""Records of official runs, unpacked, and the submissions they make.

tests/fixtures/submission/short holds real LoadGen runs of a fraction of a second (its make.py made them), and
tests/fixtures/submission/official, where there is one, runs of 600 seconds.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from edgeproof import submission
from edgeproof.submission import selection
from edgeproof.submission.system_description import Terms

FIXTURES = Path(__file__).parents[1] / "fixtures" / "submission"
SHORT, OFFICIAL = FIXTURES / "short", FIXTURES / "official"
TERMS = Terms("Example", "rdi", {}, "0123abc")
# The shortest run among the short ones, a little less.
SHORT_MS = 29
SCENARIO = "open/Example/results/local-busy/small-fp32/SingleStream"
PERFORMANCE = f"{SCENARIO}/performance/run_1/mlperf_log_detail.txt"
MEASUREMENTS = f"{SCENARIO}/measurements.json"
TINY = "open/Example/results/local-busy-small-fp32/ic"


def records(target: Path, source: Path = SHORT) -> Path:
    """Copy a fixture's records to `target`, accuracy logs unpacked."""
    shutil.copytree(source, target)
    for packed in target.rglob("*.gz"):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    return target


def record(root: Path, scenario: str) -> Path:
    """The directory of one of the short records."""
    return root / "local_busy" / "busy" / "small.fp32" / f"{scenario}.0"


def tree(target: Path, of: Path, flavour: submission.Flavour = "inference") -> Path:
    """Write the submission that the records in `of` make, without judging it."""
    submission.write(target, selection.select(of), TERMS, flavour, "resnet" if flavour == "inference" else "ic")
    return target


def replaced(path: Path, old: str, new: str) -> None:
    """Edit a text file; `old` must be in it."""
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path} has no {old!r}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def logged(path: Path, **values: Any) -> None:
    """Change values in a LoadGen detail log; the keys must be in it."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line.removeprefix(":::MLLOG "))
        if entry["key"] in values:
            entry["value"] = values[entry["key"]]
        lines.append(f":::MLLOG {json.dumps(entry)}\n")
    text = "".join(lines)
    assert all(f'"key": "{key}"' in text for key in values)
    path.write_text(text, encoding="utf-8")


def edited(path: Path, **values: Any) -> None:
    """Set keys of a JSON object; None removes one."""
    content = json.loads(path.read_text(encoding="utf-8"))
    content.update(values)
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}), encoding="utf-8")


def sealed(root: Path, scenario: str = SCENARIO) -> None:
    """State the sha256 of changed logs in measurements.json, as somebody would who changed them on purpose."""
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


def resealed(directory: Path) -> None:
    """State the sha256 of a record's changed files in its record.json."""
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.iterdir()
        if path.name != "record.json"
    }
    edited(directory / "record.json", files=files)
