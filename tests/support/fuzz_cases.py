"""Kinds of malformed inputs: each makes one from the valid project, with the command that has to survive it."""

from __future__ import annotations

import io
import json
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgeproof.config.yaml_file import read_yaml
from edgeproof.core.errors import EdgeproofError
from tests.support.fuzz_mutations import HOSTILE_TEXT, mutate_arrays, mutate_bytes, mutate_json, mutate_yaml
from tests.support.fuzz_project import RECORDS

CELL = "local/onnx/teacher/fp32"
QUERIES = (
    "SELECT model, p50_log FROM records WHERE verdict = 'valid'",
    "SELECT count(*), avg(process) FROM records GROUP BY model ORDER BY 1",
    "FROM (DESCRIBE records)",
    "WITH x AS (SELECT * FROM records) SELECT x.model FROM x JOIN records USING (model)",
)
HOSTILE_SQL = (
    *("SELECT * FROM read_csv('/etc/passwd')", "COPY records TO '/tmp/x'", "INSTALL httpfs", "ATTACH 'x.db'"),
    *("PRAGMA database_list", "SET memory_limit='99TB'", "SELECT 1; SELECT 2", "", ";", "SELECT", "SELEC 1", "--"),
    *("DROP VIEW records", "CREATE TABLE t(a INT)", "SELECT repeat('x', 1000000000000)", "SELECT 1/0, 'a'::INT"),
    *("SELECT " + "(" * 3000 + "1" + ")" * 3000, "SELECT no_such FROM records", "SELECT * FROM nothing", "CALL x()"),
    *("SELECT a.range FROM range(1000000000) a, range(1000000000) b ORDER BY 1", "SELECT chr(27) || '[2J'"),
    *("WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT n FROM t", "EXPLAIN SELECT 1"),
    *HOSTILE_TEXT,
)


HOSTILE_WORDS = ("", "--", "-1", "*", "a" * 5000, "=", "x=[", "{", "${a}", "é", "🙂", "nan", "1e999", ",", "a,,b")


@dataclass(frozen=True)
class Case:
    """A command in a directory with a malformed input. `must_fail` says that success would be a lie."""

    argv: Sequence[str]
    directory: Path
    must_fail: bool = False
    # Code that runs instead of the command line, in a process of its own.
    program: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)


def make_study(rng: random.Random, seeds: Path, place: Path) -> Case:
    """Damage a study, or any other file of the configuration."""
    project = _copy(seeds / "project", place)
    if rng.random() < 0.6:
        source = rng.choice(sorted((project / "conf/study").glob("*.yaml")))
        path = project / "conf/study/fuzzed.yaml"
        argv = ["compose", "--print", "study=fuzzed"]
    else:
        source = path = rng.choice(sorted((project / "conf").rglob("*.yaml")))
        argv = ["compose", "--print", "study=digits"]
        if path.parent.name == "reports":
            argv = ["report", path.stem]
    path.write_bytes(mutate_yaml(rng, source.read_text(encoding="utf-8")))
    return Case(argv, project, must_fail="fuzzed" in argv[-1] and not _is_yaml(path))


def make_card(rng: random.Random, seeds: Path, place: Path) -> Case:
    """Damage the card of a device."""
    project = _copy(seeds / "project", place)
    path = project / "devices/fuzzed.yaml"
    card = rng.choice(sorted((project / "devices").glob("*.yaml"))).read_text(encoding="utf-8")
    path.write_bytes(mutate_yaml(rng, card + "budget:\n  size_mb: 1\ntags: [a, b]\nruntimes: [onnx]\n"))
    commands = (["devices", "show", "fuzzed"], ["devices", "list"], ["compose", "--print", "bench.devices=[fuzzed]"])
    return Case(rng.choice(commands), project, must_fail=not _is_yaml(path))


def make_params(rng: random.Random, seeds: Path, place: Path) -> Case:
    """Damage params.yaml, and run the stage that reads all of it."""
    project = _copy(seeds / "project", place)
    path = project / "params.yaml"
    path.write_bytes(mutate_yaml(rng, path.read_text(encoding="utf-8")))
    program = (sys.executable, "-m", "stages.report")
    return Case([], project, must_fail=not _is_yaml(path), program=program)


def make_record(rng: random.Random, seeds: Path, place: Path) -> Case:
    """Damage a file of a record, or the table of rows."""
    project = _copy(seeds / "project", place)
    shutil.rmtree(project / ".edgeproof", ignore_errors=True)
    path = rng.choice(sorted(path for path in (project / RECORDS).rglob("*.*") if path.is_file()))
    _damage_file(rng, path)
    commands = (
        *(["query", "SELECT * FROM records"], ["report"], ["migrate"], ["explain", CELL], ["verify"], ["publish"]),
        ["compare", CELL, "local/onnx/student/fp32"],
        ["submit", "--submitter", "me", "--out", "out"],
    )
    argv = rng.choice(commands)
    must_fail = path.name == "record.json" and not _is_json(path) and argv[0] not in ("explain", "compare")
    return Case(argv, project, must_fail)


def make_table(rng: random.Random, seeds: Path, place: Path) -> Case:
    """Damage a table of rows, which 'edgeproof report' reads."""
    project = _copy(seeds / "project", place)
    path = project / "table.json"
    _damage_file(rng, path)
    form = rng.choice(("markdown", "csv", "latex", "html"))
    return Case(["report", "--table", "table.json", "--format", form], project, must_fail=not _is_json(path))


def make_session(rng: random.Random, seeds: Path, place: Path) -> Case:
    """Damage a file of a signed session."""
    project = _copy(seeds / "project", place)
    session = next((project / RECORDS).iterdir())
    files = sorted(path for path in session.rglob("*") if path.is_file())
    path = rng.choice([*(path for path in files if path.parent == session), rng.choice(files)])
    before = path.read_bytes()
    _damage_file(rng, path)
    is_record = path.parent != session and path.read_bytes() != before
    return Case(rng.choice((["verify"], ["verify", "--require-signatures"])), project, must_fail=is_record)


def make_model(suffix: str) -> Callable[[random.Random, Path, Path], Case]:
    """Return a function that damages a model file."""

    def make(rng: random.Random, seeds: Path, place: Path) -> Case:
        project = _copy(seeds / "project", place)
        for source in (seeds / "models").glob("m.*"):
            if source.stem == "m" and source.suffix in (suffix, ".bin"):
                shutil.copyfile(source, project / source.name)
        path = project / f"m{suffix}"
        if suffix == ".xml" and rng.random() < 0.3:
            path = project / "m.bin"
        content = path.read_bytes()
        path.write_bytes(mutate_bytes(rng, content))
        is_lost = path.suffix != ".bin" and path.stat().st_size < min(len(content) // 4, 200)
        return Case(_bench(f"m{suffix}"), project, must_fail=is_lost)

    return make


def make_npz(rng: random.Random, seeds: Path, place: Path) -> Case:
    """Damage the inputs and labels of a benchmark."""
    project = _copy(seeds / "project", place)
    shutil.copyfile(seeds / "models/m.onnx", project / "m.onnx")
    with np.load(seeds / "models/data.npz") as archive:
        content = mutate_arrays(rng, dict(archive))
    (project / "data.npz").write_bytes(content)
    return Case([*_bench("m.onnx"), "--data", "data.npz"], project, must_fail=not _has_inputs(content))


def make_bundle(rng: random.Random, seeds: Path, place: Path) -> Case:
    """Damage a bundle that a board verifies, or the artifact of which a bundle is made."""
    project = _copy(seeds / "bundle", place)
    environment = {"EDGEPROOF_PLUGINS": str(project / "plugins")}
    root = project / ("artifacts" if rng.random() < 0.4 else "out/m")
    path = rng.choice(sorted(path for path in root.rglob("*") if path.is_file() and path.name != "run.pyz"))
    before = path.read_bytes()
    _damage_file(rng, path)
    is_changed = path.read_bytes() != before
    if root.name == "artifacts":
        is_used = path.name != "meta.json" or not _is_json(path)
        argv = ["bundle", "m/fp32", "--out", "out/new"]
        return Case(argv, project, must_fail=is_changed and is_used, environment=environment)
    program = (sys.executable, "-I", "out/m/run.pyz", "--check")
    return Case([], project, must_fail=is_changed, program=program)


def make_query(rng: random.Random, seeds: Path, place: Path) -> Case:
    """Ask a malformed, forbidden or endless query."""
    project = _copy(seeds / "project", place)
    if rng.random() < 0.5:
        sql = rng.choice(HOSTILE_SQL)
    else:
        sql = mutate_bytes(rng, rng.choice(QUERIES).encode()).decode("utf-8", "surrogateescape")
    options = ["--format", rng.choice(("table", "csv", "json")), "--timeout-s", "3"]
    return Case(["query", *options, "--", _as_argument(sql)], project)


def make_submission(rng: random.Random, seeds: Path, place: Path) -> Case:
    """Damage a file of a submission."""
    root = _copy(seeds / "submission", place)
    _damage_file(rng, rng.choice(sorted(path for path in root.rglob("*") if path.is_file())))
    return Case(["validate", "."], root)


def make_words(rng: random.Random, seeds: Path, place: Path) -> Case:
    """Give malformed words to a command that reads only."""
    project = _copy(seeds / "project", place)
    word = _as_argument(rng.choice((*HOSTILE_TEXT, *HOSTILE_WORDS)))
    commands = (
        *(["explain", word], ["compare", word, CELL], ["report", word], ["devices", "show", word], ["repro", word]),
        *(
            ["compose", "--print", word],
            ["compose", "--print", f"study={word}"],
            ["compose", "--print", f"seed={word}"],
        ),
        *(
            ["report", "--models", word],
            ["report", "--columns", word],
            ["report", "--sort", word],
            ["report", "--out", word],
        ),
        *(
            ["farm", "status", "--name", word],
            ["farm", "history", "--device", word],
            ["verify", word],
            ["migrate", word],
        ),
        *(["farm", "regressions", "--run", word], ["farm", "release", word], ["reproduce", word], ["validate", word]),
        *(
            ["bundle", word, "--out", "x"],
            ["register", word],
            ["bench", word],
            ["query", word],
            [word],
            ["sweep", word],
        ),
        *(["report", "--save", word], ["report", "--title", word], ["bench", "m.onnx", "--preset", word]),
        *(["submit", "--submitter", word, "--out", "x"], ["query", "SELECT 1", "--records", word]),
    )
    return Case(rng.choice(commands), project)


# The .xml file is written first: it is made from an .onnx file of the same name, which is removed.
MODEL_SUFFIXES = (".xml", ".onnx", ".tflite", ".keras", ".pt2")
# Each scheme in each runtime is an artifact to measure, and a file may still work: one artifact keeps within the limit.
EXPORTED_SUFFIXES = (".keras", ".pt2")
KINDS: dict[str, Callable[[random.Random, Path, Path], Case]] = {
    "study": make_study,
    "card": make_card,
    "params": make_params,
    "record": make_record,
    "table": make_table,
    "session": make_session,
    "npz": make_npz,
    "bundle": make_bundle,
    "query": make_query,
    "submission": make_submission,
    "words": make_words,
    **{suffix.removeprefix("."): make_model(suffix) for suffix in MODEL_SUFFIXES},
}


def _as_argument(text: str) -> str:
    """Return text as a program receives it: without NUL, and with bytes that are not UTF-8 as low surrogates."""
    return text.replace("\0", "").replace("\ud800", "\udcff")


def _bench(name: str) -> list[str]:
    exports = ["--schemes", "fp32", "--runtimes", "onnx"] if name.endswith(EXPORTED_SUFFIXES) else []
    return ["bench", name, "--preset", "quick", "--scenarios", "single_stream", *exports]


def _copy(source: Path, place: Path) -> Path:
    return Path(shutil.copytree(source, place, symlinks=True))


def _damage_file(rng: random.Random, path: Path) -> None:
    is_json = path.suffix == ".json" and path.stat().st_size > 0
    content = path.read_bytes()
    path.write_bytes(mutate_json(rng, content.decode()) if is_json and _is_json(path) else mutate_bytes(rng, content))


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return True


def _is_yaml(path: Path) -> bool:
    try:
        read_yaml(path)
    except EdgeproofError:
        return False
    return True


def _has_inputs(content: bytes) -> bool:
    """Return True if numpy reads inputs from an .npz file without running code."""
    try:
        with np.load(io.BytesIO(content)) as archive:
            return bool(archive["x"].size)
    except Exception:  # numpy and zipfile raise errors of many kinds
        return False
