"""What runs in turns say: each process's ratio of two artifacts is one observation, and the processes decide."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgeproof.records import record_files
from edgeproof.records.record_files import INTERLEAVED, Record
from edgeproof.report.tables import NONE, Column, escape, format_markdown_table
from edgeproof.statistics.comparison import Comparison, adjust_p_values, compare_logs

ROUNDS = 10
Artifact = tuple[str, str, str]  # runtime, model, scheme


def measure_only_interleaved(rounds: int) -> dict[str, Any]:
    """The parameters of a session that measures nothing but turns."""
    return {"processes": 0, "final": {}, "interleaved": rounds}


def compare_interleaved(found: Iterable[Record], *, margin: float = 0.0) -> dict[Artifact, Comparison]:
    """How every artifact compares with the one that it took turns with; ratios above 1 are slower.

    A process that was not valid is left out: what refuses it is not how fast it was.
    """
    ratios: dict[Artifact, list[float]] = defaultdict(list)
    for content in _contents(found):
        logs = ratios[_artifact(content)]
        logs += [content["in_turns"]["log_ratio"]] if content["verdict"] == "valid" else []
    return {
        artifact: compare_logs([0.0] * len(logs), logs, paired=True, margin=margin) for artifact, logs in ratios.items()
    }


def format_interleaved_table(root: Path) -> str:
    """The records below `root` as Markdown: every artifact, its verdict, and under which conditions it was found."""
    read = list(record_files.read_all(root))
    contents, found = _contents(read), compare_interleaved(read)
    against = {_artifact(of): of["in_turns"] for of in contents if "in_turns" in of}
    lines = [
        (artifact, against.get(artifact, {}), comparison)
        for artifact, comparison in zip(found, adjust_p_values(list(found.values())), strict=True)
    ]
    refused = dict.fromkeys(
        f"- {'/'.join(_artifact(of))}: {reason}"
        for of in contents
        if of["verdict"] != "valid"
        for reason in of["reasons"]
    )
    conditions = dict.fromkeys(_conditions(of) for of in contents if of["verdict"] == "valid")
    return "\n".join(
        [
            "# In turns",
            "",
            *format_markdown_table(lines, COLUMNS),
            "",
            *(["Refused, with the reason:", "", *map(escape, refused), ""] if refused else []),
            "A process's ratio is the median over pairs of blocks, a millisecond of either artifact in a drawn order; "
            "brackets are 95% intervals over processes (Student's t, confirmed by ranks), p is corrected (Holm).",
            "",
            *map(escape, conditions),
            "",
        ]
    )


def _contents(found: Iterable[Record]) -> list[Mapping[str, Any]]:
    turns = [record.content for record in found if record.content["scenario"] in (INTERLEAVED, "unsupported")]
    return sorted(turns, key=lambda content: (content["order"], content["process"]))


def _artifact(content: Mapping[str, Any]) -> Artifact:
    return content["runtime"], content["model"], content["scheme"]


def _conditions(content: Mapping[str, Any]) -> str:
    result = content["result"]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(result["versions"].items()))
    return f"{content['device']}: {result['fingerprint']['cpu']}, {result['threads']} thread(s); {versions}"


def _told(comparison: Comparison, text: str) -> str:
    return NONE if comparison.verdict == "too few processes" else text


COLUMNS: tuple[Column[tuple[Artifact, Mapping[str, Any], Comparison]], ...] = (
    Column("runtime", lambda of: of[0][0]),
    Column("artifact", lambda of: f"{of[0][1]}/{of[0][2]}"),
    Column("against", lambda of: f"{of[1]['model']}/{of[1]['scheme']}" if of[1] else NONE),
    Column("processes", lambda of: str(of[2].processes[0])),
    Column(
        "time, ratio",
        lambda of: _told(of[2], f"{of[2].ratio.value:.4f} [{of[2].ratio.low:.4f}, {of[2].ratio.high:.4f}]"),
    ),
    Column("p", lambda of: _told(of[2], f"{of[2].p_adjusted:.2g}")),
    Column("would be found", lambda of: _told(of[2], f"+{100 * (of[2].smallest_detectable_ratio - 1):.1f}%")),
    Column("it is", lambda of: of[2].verdict),
)
