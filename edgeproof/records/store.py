"""Records in columns: one Parquet file a device and month, made from the records and asked in SQL.

    results/store/index.json                          what each session's lines were made from
    results/store/device=<name>/month=<YYYY-MM>.parquet   a line a record (report/summaries.py), sorted by cell

The store is derived: it can be deleted at any time and is made again from the records, whose raw arrays stay where they
are. It is brought up to date session by session and swapped in whole.

    from edgeproof import store
    frame = store.ask("SELECT model, runtime, exp(avg(p50_log)) / 1000 AS p50_us FROM records GROUP BY ALL").df()
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
import os
import tempfile
import types
import typing
import urllib.parse
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from edgeproof.core.directories import hash_file, write_atomically, write_json
from edgeproof.core.errors import EdgeproofError
from edgeproof.core.signatures import SIGNATURE, SUMS
from edgeproof.paths import RECORDS
from edgeproof.progress import Progress
from edgeproof.records import energy, migrations, record_files, summaries
from edgeproof.records.summaries import StoreLine
from edgeproof.statistics import autocorrelation, estimates, percentiles

INDEX = "index.json"
MEMORY = "512MB"
# Lines that other code made are made again.
MAKERS = [Path(str(module.__file__)) for module in (summaries, percentiles, autocorrelation, estimates, energy, migrations)] + [Path(__file__)]
ORDER = "model, scheme, runtime, measured_at, path"
_SQL = {str: "VARCHAR", int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN", bytes: "BLOB"}
_LISTS = {str: "VARCHAR[]", float: "FLOAT[]"}  # of quantiles, which are only drawn
_TEXTS = tuple(StoreLine._fields.index(name) for name in ("reasons", "notes"))
_UNUSED_BY_ROWS = (
    *("fingerprint", "quantiles_ns", "options", "packages", "runner", "data_sha256", "lineage", "network"),
    *("validation_accuracy", "inferences", "profile", *summaries.TELEMETRY_FIGURES),
)


@dataclass(frozen=True)
class StoreState:
    """What the store holds: of every session how many records, and what is wrong with some."""

    sessions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def records(self) -> int:
        """How many records it holds."""
        return sum(session["records"] for session in self.sessions.values())

    @property
    def damaged(self) -> list[str]:
        """The records that could not be read, each with its reason."""
        return [line for session in self.sessions.values() for line in session["damaged"]]

    @property
    def older(self) -> int:
        """How many records lie on disk in an older schema."""
        return sum(session["older"] for session in self.sessions.values())


def locate(root: Path) -> Path:
    """Where the store of the records below `root` lies; a history beside them has its own."""
    return root.with_name("store" if root.name == RECORDS.name else f"{root.name}_store")


def refresh(root: Path = RECORDS) -> StoreState:
    """Bring the store up to date with the records below `root` and say what it holds. Damaged records are left out.

    Only sessions whose records changed since are read. Raises EdgeproofError when the disk cannot take it.
    """
    place, made_by = locate(root), _made_by()
    before = _index(place, made_by)
    stamps = {path.name: _stamp(path) for path in _sessions(root)}
    stale = sorted(key for key, stamp in stamps.items() if before.get(key, {}).get("stamp") != stamp)
    gone = set(before) - set(stamps)
    if not stale and not gone:
        return StoreState(before)
    with tempfile.TemporaryDirectory() as scratch, write_atomically(place) as out:
        fresh = Path(scratch, "fresh.parquet")
        told = _compacted(root, stale, stamps, fresh)
        affected = {part for key in {*stale, *gone} for part in before.get(key, {}).get("parts", [])}
        kept = {part for key, of in before.items() if key not in gone for part in of["parts"]} - affected
        for part in sorted(kept - list_parts(fresh)):
            (out / part).parent.mkdir(parents=True, exist_ok=True)
            os.link(place / part, out / part)
        for part in sorted({*affected, *list_parts(fresh)}):
            merge_part(place / part, fresh, {*stale, *gone}, part, out / part)
        index = {**{key: of for key, of in before.items() if key not in gone}, **told}
        write_json(out / INDEX, {"made_by": made_by, "sessions": index})
    return StoreState(index)


def read_state(root: Path = RECORDS) -> StoreState:
    """What the store holds as it is, whoever made it."""
    try:
        return StoreState(json.loads((locate(root) / INDEX).read_text(encoding="utf-8"))["sessions"])
    except (OSError, ValueError, KeyError, TypeError):
        return StoreState()


def ask(sql: str, root: Path = RECORDS) -> duckdb.DuckDBPyConnection:
    """Answer a query over the view `records`, a line a record: `.df()` is a pandas DataFrame, `.fetchall()` tuples.

    The store is taken as it is (`refresh` brings it up to date), and nothing but it can be read, or written at all.
    Raises EdgeproofError with DuckDB's own words.
    """
    place = locate(root)
    connection = connect(place)
    connection.execute(f"SET allowed_directories = ['{_quoted(str(place.resolve()))}']")
    for setting in ("enable_external_access = false", "lock_configuration = true"):
        connection.execute(f"SET {setting}")
    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise EdgeproofError(
                "a query is one SELECT over the view 'records'; DESCRIBE is 'FROM (DESCRIBE records)'."
            )
        return connection.execute(statements[0].query)
    except duckdb.Error as error:
        raise EdgeproofError(f"the query failed: {error}") from None


def read_last_sessions(
    root: Path, *, order: Mapping[str, Sequence[str]], schemes: Collection[str] | None = None
) -> list[StoreLine]:
    """What `report.rows.rows_of` needs: the lines of every cell's last sitting, and of the harness in these sittings.

    `order` names the 'devices', 'models' and 'runtimes' to read; `schemes` those to read, all when None.
    """
    chosen: dict[str, list[str]] = {kind: list(order[f"{kind}s"]) for kind in ("device", "runtime", "model")}
    if schemes is not None:
        chosen["scheme"] = list(schemes)
    limits = " AND ".join(f"list_contains(${kind}, {kind})" for kind in chosen)
    columns = ", ".join(f"NULL AS {name}" if name in _UNUSED_BY_ROWS else name for name in sql_types())
    found = connect(locate(root)).execute(
        f"""WITH cells AS (
                SELECT device, runtime, model, scheme,
                       arg_max({{'key': session_key, 'id': session_id}}, measured_at) AS last
                FROM records WHERE runtime <> 'null' AND {limits} GROUP BY ALL),
            sittings AS (SELECT DISTINCT last.key AS session_key, last.id AS session_id FROM cells)
            SELECT {columns} FROM records r SEMI JOIN cells c
                ON r.device = c.device AND r.runtime = c.runtime AND r.model = c.model AND r.scheme = c.scheme
                AND r.session_key = c.last.key AND r.session_id = c.last.id
            UNION ALL
            SELECT {columns} FROM records r SEMI JOIN sittings s
                ON r.session_key = s.session_key AND r.session_id = s.session_id
                WHERE r.runtime = 'null'""",
        chosen,
    )
    lines = [_line(values) for batch in iter(lambda: found.fetchmany(10_000), []) for values in batch]
    return sorted(lines, key=lambda line: line.path.split("/"))


def read_process_medians(
    root: Path,
    where: str = "true",
    values: Mapping[str, Any] | None = None,
    *,
    told: Sequence[str] = ("conditions", "versions"),
) -> list[tuple[Any, ...]]:
    """The single-stream medians of every cell's sittings as logarithms of ns, one a process, in order of time.

    Tuples of night, device, runtime, model, scheme, session key, session id, the columns `told` of one of the runs, and
    a list of (process, logarithm): a repeated run's last attempt, and only runs that are valid. `where` and `told` are
    this package's own.
    """
    sql = f"""
        WITH runs AS (
            SELECT night, device, runtime, model, scheme, session_key, session_id, scenario, process,
                   arg_max({{'log': CASE WHEN verdict = 'valid' THEN p50_log END
                             {"".join(f", '{name}': {name}" for name in told)}}}, attempt) AS last
            FROM records
            WHERE loadgen_scenario = 'SingleStream' AND scenario <> 'accuracy' AND compliance IS NULL
                AND runtime <> 'null' AND {where}
            GROUP BY ALL)
        SELECT night, device, runtime, model, scheme, session_key, session_id,
               {"".join(f"any_value(last.{name}), " for name in told)}list((process, last.log) ORDER BY process)
        FROM runs WHERE last.log IS NOT NULL
        GROUP BY ALL ORDER BY ALL"""
    return connect(locate(root)).execute(sql, dict(values or {})).fetchall()


def list_names(root: Path) -> dict[str, list[str]]:
    """The 'devices', 'models', 'runtimes' and 'schemes' that have records, the null runtime's left out."""
    found = connect(locate(root)).execute(
        "SELECT DISTINCT device, model, runtime, scheme FROM records WHERE runtime <> 'null'"
    )
    cells = found.fetchall()
    kinds = ("devices", "models", "runtimes", "schemes")
    return {kind: sorted({cell[place] for cell in cells}) for place, kind in enumerate(kinds)}


def connect(place: Path) -> duckdb.DuckDBPyConnection:
    """A connection with the store's files as the view `records`; an empty view where there is no store."""
    connection = _opened()
    files = ", ".join(f"'{_quoted(str(path.resolve()))}'" for path in sorted(place.glob("device=*/*.parquet")))
    empty = ", ".join(f"NULL::{sql} AS {name}" for name, sql in sql_types().items())
    source = f"read_parquet([{files}], hive_partitioning = false)" if files else f"(SELECT {empty} LIMIT 0)"
    connection.execute(f"CREATE VIEW records AS FROM {source}")
    return connection


def _opened() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    for setting in (f"memory_limit = '{MEMORY}'", "enable_progress_bar = false"):
        connection.execute(f"SET {setting}")
    return connection


@functools.cache
def sql_types() -> dict[str, str]:
    """The store's columns and their types in SQL."""
    return {name: _sql_type(of) for name, of in typing.get_type_hints(StoreLine).items()}


def write_lines(lines: Iterable[StoreLine], path: Path) -> int:
    """Write lines as one Parquet file; returns how many there were."""
    count = 0
    with tempfile.TemporaryDirectory() as scratch:
        text = Path(scratch, "lines.json")
        with text.open("w", encoding="utf-8") as file:
            for line in lines:
                file.write(_as_json(line) + "\n")
                count += 1
        columns = {name: "VARCHAR" if sql == "BLOB" else sql for name, sql in sql_types().items()}
        described = ", ".join(f"{name}: '{sql}'" for name, sql in columns.items())
        source = f"read_json('{_quoted(str(text))}', format = 'newline_delimited', columns = {{{described}}})"
        _copy(f"SELECT * REPLACE (from_base64(hits) AS hits) FROM {source} ORDER BY {ORDER}", path)
    return count


# --- making the store --------------------------------------------------------------------------------------------


def _index(place: Path, made_by: str) -> dict[str, Any]:
    """What the store was made from; nothing where it is missing, damaged or made by other code."""
    try:
        index = json.loads((place / INDEX).read_text(encoding="utf-8"))
        sessions: dict[str, Any] = index["sessions"] if index["made_by"] == made_by else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    parts = {part for of in sessions.values() for part in of["parts"]}
    return sessions if all((place / part).is_file() for part in parts) else {}


def _made_by() -> str:
    return hashlib.sha256("".join(hash_file(path) for path in MAKERS).encode()).hexdigest()[:16]


def _sessions(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _stamp(session: Path) -> str:
    """Changes with every record that is added, removed or written anew below a session, and with its signature."""
    digest = hashlib.sha256()
    for line in sorted(_states(str(session), "")):
        digest.update(line.encode())
    return digest.hexdigest()[:16]


def _states(directory: str, name: str) -> Iterator[str]:
    below = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name in (record_files.FILE, SUMS, SIGNATURE):
                state = entry.stat()
                yield f"{name}\0{entry.name}\0{state.st_mtime_ns}\0{state.st_size}\n"
                if entry.name == record_files.FILE:
                    return
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                below.append(entry)
    for entry in below:
        yield from _states(entry.path, f"{name}/{entry.name}")


def _compacted(root: Path, stale: Sequence[str], stamps: Mapping[str, str], fresh: Path) -> dict[str, Any]:
    """Write the lines of the stale sessions to `fresh`; what the index says of them."""
    told: dict[str, Any] = {}

    def lines() -> Iterator[StoreLine]:
        with Progress("reading records", len(stale)) as progress:
            for key in stale:
                damaged: list[str] = []
                found = record_files.read_all(root / key, damaged=damaged)
                of = summaries.summarize_records(found, root, damaged=damaged)
                told[key] = {
                    "stamp": stamps[key],
                    "records": len(of),
                    "older": sum(line.schema_on_disk < record_files.SCHEMA for line in of),
                    "damaged": damaged,
                    "parts": sorted({_part(line.device, line.night) for line in of}),
                }
                yield from of
                progress.advance()

    write_lines(lines(), fresh)
    return told


def _part(device: str, night: str) -> str:
    """The file that holds a line, below the store; a device's name may be anything."""
    return f"device={urllib.parse.quote(device, safe='')}/month={urllib.parse.quote(night[:7], safe='')}.parquet"


def list_parts(fresh: Path) -> set[str]:
    found = _opened().execute(f"SELECT DISTINCT device, night FROM '{_quoted(str(fresh))}'").fetchall()
    return {_part(device, night) for device, night in found}


def merge_part(old: Path, fresh: Path, changed: Collection[str], part: str, target: Path) -> None:
    """Write one part anew: its lines of sessions that did not change, and the fresh ones that belong to it."""
    device, month = (urllib.parse.unquote(word.partition("=")[2]) for word in part.removesuffix(".parquet").split("/"))
    sources = [f"SELECT * FROM '{_quoted(str(fresh))}' WHERE device = $device AND night[:7] = $month"]
    if old.is_file():
        sources.append(f"SELECT * FROM '{_quoted(str(old))}' WHERE NOT list_contains($changed, session_key)")
    union = " UNION ALL BY NAME ".join(sources)
    values: dict[str, Any] = {"device": device, "month": month}
    values |= {"changed": sorted(changed)} if old.is_file() else {}
    target.parent.mkdir(parents=True, exist_ok=True)
    _copy(f"SELECT * FROM ({union}) ORDER BY {ORDER}", target, values)


def _copy(select: str, target: Path, values: Mapping[str, Any] | None = None) -> None:
    connection = _opened()
    # What reads a part holds a row group of each file in memory.
    to = f"TO '{_quoted(str(target))}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20000)"
    connection.execute(f"COPY ({select}) {to}", dict(values or {}))


def _quoted(text: str) -> str:
    return text.replace("'", "''")


# --- lines to and from SQL -----------------------------------------------------------------------------------------


def _sql_type(of: Any) -> str:
    members = [member for member in typing.get_args(of) if member is not types.NoneType]
    if isinstance(of, types.UnionType):
        return _sql_type(members[0])
    return _LISTS[members[0]] if typing.get_origin(of) is tuple else _SQL[of]


def _as_json(line: StoreLine) -> str:
    values = {name: getattr(line, name) for name in sql_types()}
    if line.hits is not None:
        values["hits"] = base64.b64encode(line.hits).decode()
    known = {name: value for name, value in values.items() if value is not None}
    infinite = {name: str(value) for name, value in known.items() if isinstance(value, float) and math.isinf(value)}
    return json.dumps({**known, **infinite}, allow_nan=False)


def _line(values: Sequence[Any]) -> StoreLine:
    """A line from the values of all columns; DuckDB's lists become the tuples that they were."""
    told = list(values)
    for place in _TEXTS:
        told[place] = tuple(told[place])
    return StoreLine._make(told)
