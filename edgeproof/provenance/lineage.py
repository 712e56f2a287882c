"""From a cell of the table back to the data: record, artifact, model, parents, data, with the hashes that link them.

Each link names the next by its sha256. What lies on disk under that name is checked against it; a model that is gone
is still told by the records of its own artifacts, and what nothing tells is said to be missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeproof.config.params import Params
from edgeproof.config.params_file import PARAMS, read_params
from edgeproof.core.directories import content_sha256, hash_file, read_meta
from edgeproof.core.errors import ArtifactError, ConfigError
from edgeproof.paths import ARTIFACTS, DATA, MODELS, WORK, artifact_name
from edgeproof.provenance.cells import CellRecords
from edgeproof.records import record_files, summaries
from edgeproof.records.record_files import Record
from edgeproof.report import rows, tables

SHORT = 12
SHOWN_OPERATORS = 5
INTACT, OTHER, DAMAGED, ABSENT = "intact", "another build lies there", "damaged", "not on this machine"


@dataclass(frozen=True)
class LineageLink:
    """One thing that a cell was made from.

    `role` is its part in what it was made into (record, artifact, model, parent, teacher, data), `place` where it
    belongs, `state` what lies there; `facts` are name and text, `missing` says that only its name is known. `outcome`
    is a record's verdict and time: records of one session tell their other facts once.
    """

    role: str
    name: str
    sha256: str
    place: Path | None
    state: str
    depth: int
    facts: Mapping[str, str] = field(default_factory=dict)
    missing: bool = False
    outcome: str = ""


def explain(found: CellRecords, root: Path) -> str:
    """The chain of a cell in words, ending with the command that makes it again."""
    links = trace_lineage(found, root)
    lines = [f"cell {found.cell}" + (f", figure {found.figure}" if found.figure else ""), f"  {_figures(found, root)}"]
    lines += _profile(found)
    before: Mapping[str, str] = {}
    for link in links:
        indent = "  " * link.depth
        head = f"{indent}└ {link.role} {link.name}  sha256 {link.sha256[:SHORT] or 'unknown'}"
        if link.outcome:
            head += f"  {link.state}; {link.outcome}"
            facts, before = {name: text for name, text in link.facts.items() if before.get(name) != text}, link.facts
        else:
            facts = {**({} if link.place is None else {"at": f"{link.place}, {link.state}"}), **link.facts}
        lines += [head, *(f"{indent}    {name}: {text}" for name, text in facts.items())]
    brought = found.records[0].content["artifact"]["model"]["method"] == record_files.EXTERNAL_METHOD
    lost = [link for link in links if link.missing]
    for link in lost:
        lines.append(
            f"missing: {link.role} {link.name} ({link.sha256[:SHORT]}) is neither on this machine nor told by any "
            "record: what it was made from is unknown here."
            + ("" if brought else " 'dvc pull' or 'dvc repro' brings it back.")
        )
    again = "measure it again: edgeproof bench" if brought else f"make it again: edgeproof reproduce {found.cell}"
    return "\n".join([*lines, again])


def trace_lineage(found: CellRecords, root: Path) -> list[LineageLink]:
    """The links of a cell, each after what it was made into."""
    first = next((r for r in found.records if not _other_seed(r)), found.records[0]).content
    study = load_study_params(str(first["study"]))
    homes = [Path(), WORK / "studies" / str(first["study"])]
    links = [_record_link(record) for record in found.asked()]
    links.append(_artifact_link(first, homes, study))
    links += _model_links(first["artifact"]["model"], homes, root, "model", 2, set())
    if first["artifact"]["model"].get("data_sha256"):
        links.append(_data_link(first["artifact"]["model"], homes, study))
    return links


def _figures(found: CellRecords, root: Path) -> str:
    """What the table says of the cell."""
    cell = found.cell
    order = {"devices": [cell.device], "models": [cell.model], "runtimes": [cell.runtime]}
    try:
        row = rows.build_rows(summaries.summarize_records(found.records, root), baseline=cell.model, order=order)[0]
    except ArtifactError as error:
        return f"no figure: {error}"
    told = {
        "accuracy %": tables.percent_cell(row.accuracy),
        "p50 µs": tables.us_cell(row.p50_ns),
        "p99 µs": tables.us_cell(row.p99_ns),
        "file KiB": tables.bytes_cell(row.size_bytes),
        "verdict": row.verdict,
    }
    return ", ".join(f"{name} {text}" for name, text in told.items())


def _profile(found: CellRecords) -> list[str]:
    """The operators in which most of an inference's time is spent, where a profile was taken."""
    profiles = [record.content["profile"] for record in found.records if "profile" in record.content]
    operators = profiles[-1].get("operators", []) if profiles else []
    total = sum(of["time_ns"] for of in operators)
    slowest = sorted(operators, key=lambda of: -of["time_ns"])[:SHOWN_OPERATORS]
    told = [f"{of['kind']} {of['name']} {of['time_ns'] / total:.0%}" for of in slowest if total]
    return [f"  slowest operators: {', '.join(told)}"] if told else []


def load_study_params(name: str) -> Params | None:
    """The parameters that a study ran with: the project's own, or those of its worktree; None where neither is its."""
    for path in (PARAMS, WORK / "studies" / name / PARAMS):
        try:
            params = read_params(path)
        except ConfigError:
            continue
        if params.study == name:
            return params
    return None


def _other_seed(record: Record) -> bool:
    return bool(record.content["scenario"] == record_files.ACCURACY and record.content["process"] > 0)


def _record_link(record: Record) -> LineageLink:
    content = record.content
    outcome = "; ".join([str(content["verdict"]), *content["reasons"], str(content["measured_at"])])
    facts = {"in": record.directory.parent.as_posix(), "session": f"{content['session']} ({content['session_id']})"}
    if content.get("result", {}).get("status") == "done":
        result = content["result"]
        versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
        facts["on"] = f"{content['device']}: {result['fingerprint']['cpu']}, {result['threads']} thread(s)"
        facts["with"] = f"{versions}, Python {result['fingerprint'].get('python', 'unknown')}"
    facts["commit"] = describe_commit(content)
    facts["runner"] = str(content.get("runner"))[:SHORT]
    name = f"{content['scenario']}.{content['process']}" + (f".again{content['attempt']}" if content["attempt"] else "")
    try:
        for file in content["files"]:
            record.file(file)
        state = INTACT
    except ArtifactError as error:
        state = f"{DAMAGED}: {error}"
    return LineageLink(
        "record",
        name,
        hash_file(record.directory / record_files.FILE),
        record.directory,
        state,
        0,
        facts,
        outcome=outcome,
    )


def describe_commit(content: Mapping[str, Any]) -> str:
    """The commit that measured, in words."""
    commit = content.get("commit")
    if commit is None:
        return "not recorded"
    changed = f", with changes in {', '.join(commit['modified'])}" if commit["modified"] else ""
    return f"{commit['id']}{changed}"


def _artifact_link(content: Mapping[str, Any], homes: Iterable[Path], study: Params | None) -> LineageLink:
    artifact = content["artifact"]
    facts = {"packages": _pairs(artifact.get("packages") or {})}
    if artifact.get("unsupported"):
        facts = {"unsupported": str(artifact["unsupported"])}
    else:
        facts |= {"files": f"{', '.join(artifact.get('lowered', []))} ({artifact.get('size_bytes')} bytes)"}
    seed = artifact["model"]["seed"]
    seeds = [seed]
    key = f"{content['model']}_{content['runtime']}"
    if study is not None and key in study.export:
        seeds = study.export[key].seeds
        facts["config"] = f"params.yaml, export.{key}"
    place = Path(content["runtime"], content["model"], artifact_name(str(content["scheme"]), seeds, seed))
    if artifact["model"]["method"] == record_files.EXTERNAL_METHOD:
        places = [WORK / record_files.EXTERNAL_METHOD / str(content["study"]) / place]
    else:
        places = [home / ARTIFACTS / place for home in homes]
    where, state, _ = _lying(places, artifact["sha256"])
    name = f"{content['model']} {content['scheme']} for {content['runtime']}"
    return LineageLink("artifact", name, artifact["sha256"], where, state, 1, facts)


def _model_links(
    told: Mapping[str, Any], homes: list[Path], root: Path, role: str, depth: int, seen: set[str]
) -> Iterator[LineageLink]:
    """A model and, below it, what it was made from; a model that two others share is told in full once."""
    sha256 = str(told.get("sha256", ""))
    where, state, _ = _lying(_model_places(str(told["name"]), homes), sha256)
    network, accuracy = told.get("network"), told.get("validation_accuracy")
    facts = {
        "method": f"{told['method']} ({_pairs(told.get('options', {}))})",
        "network": f"{network['name']} ({_pairs(network['options'])})" if network else "",
        "seed": "" if told.get("seed") is None else str(told["seed"]),
        "validation accuracy": "" if accuracy is None else f"{accuracy:.2%}",
    }
    shown = {name: text for name, text in facts.items() if text}
    if sha256 and sha256 in seen:
        yield LineageLink(role, str(told["name"]), sha256, where, state, depth, {"made from": "as told above"})
        return
    seen.add(sha256)
    yield LineageLink(role, str(told["name"]), sha256, where, state, depth, shown)
    for part, source in told["lineage"].items():
        known = source if "method" in source else _meta_of(source["name"], source["sha256"], homes, root)
        if known is None:
            where, state, _ = _lying(_model_places(source["name"], homes), source["sha256"])
            yield LineageLink(part, source["name"], source["sha256"], where, state, depth + 1, missing=True)
        else:
            yield from _model_links(known, homes, root, part, depth + 1, seen)


def _meta_of(name: str, sha256: str, homes: Iterable[Path], root: Path) -> Mapping[str, Any] | None:
    """What is known of a model by its hash: its own meta on disk, or that in a record of one of its artifacts."""
    _, state, meta = _lying(_model_places(name, homes), sha256)
    if state == INTACT and meta is not None:
        return {**meta, "sha256": sha256}
    for place in sorted(root.glob(f"*/*/{name}.*")):
        for directory in record_files.list_directories(place):
            model = record_files.read(directory).content["artifact"]["model"]
            if model.get("sha256") == sha256:
                return dict(model)
    return None


def _model_places(name: str, homes: Iterable[Path]) -> list[Path]:
    """Where a model of this name may lie: the first seed's directory and those of the other seeds below it."""
    return [place for home in homes for place in (home / MODELS / name, *sorted((home / MODELS / name).glob("seed_*")))]


def _data_link(model: Mapping[str, Any], homes: Iterable[Path], study: Params | None) -> LineageLink:
    task = str(model["task"])
    sha256 = str(model["data_sha256"])
    where, state, _ = _lying((home / DATA / task / "build" for home in homes), sha256)
    facts = {}
    if study is not None and study.task.name == task:
        facts = {f"file {name}": of for name, of in study.task.files.items()}
        facts["sources"] = "; ".join(" ".join(map(str, source.model_dump().values())) for source in study.task.sources)
        facts["split"] = f"seed {study.task.seed}, {study.task.validation_samples} for validation"
    return LineageLink("data", task, sha256, where, state, 3, facts)


def _lying(places: Iterable[Path], sha256: str) -> tuple[Path | None, str, Mapping[str, Any] | None]:
    """The first place where exactly this lies; else the first one with what lies there instead."""
    first: tuple[Path | None, str, Mapping[str, Any] | None] = None, ABSENT, None
    for place in places:
        if not place.is_dir():
            first = first if first[0] is not None else (place, ABSENT, None)
            continue
        try:
            meta = read_meta(place)
        except ArtifactError as error:
            here: tuple[Path | None, str, Mapping[str, Any] | None] = place, f"{DAMAGED}: {error}", None
        else:
            if content_sha256(meta) == sha256:
                return place, INTACT, meta
            here = place, f"{OTHER} ({content_sha256(meta)[:SHORT]})", meta
        first = here if first[0] is None or first[1] == ABSENT else first
    return first


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value if isinstance(value, str) else json.dumps(value)}" for name, value in values.items()
    )
