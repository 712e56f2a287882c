"""A deployment bundle: what a board needs to use an artifact, and to know that it is the one that was measured.

run.pyz           verifies the bundle, then infers: python3 run.pyz --check, python3 run.pyz inputs.npy
artifact/         the lowered files, samples and what the reference model answers to them
bundle.json       what it is: runtime, task, versions, hashes of the chain
MODEL_CARD.md     figures with their conditions, lineage, limits
requirements.txt  the versions that it was measured with
Dockerfile        the same as a container: docker build -t model .
MANIFEST.json     the sha256 of every file, and the signer's public key
MANIFEST.sig      its Ed25519 signature
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeproof.core import plugins, signatures
from edgeproof.core.directories import hash_file, list_files, write_atomically, write_bytes, write_json, write_text
from edgeproof.core.errors import EdgeproofError
from edgeproof.deployed import manifest
from edgeproof.devices import runner_zipapp
from edgeproof.provenance import lineage
from edgeproof.provenance.cells import CellRecords
from edgeproof.records import signing, summaries
from edgeproof.report import rows, tables
from edgeproof.report.row import Row

LOADGEN = "mlcommons-loadgen"
SHIPPED = ("__init__.py", "core/*.py", "deployed/*.py", "runtimes/__init__.py", "tasks/__init__.py")
DOCKERFILE = """FROM python:{python}-slim
WORKDIR /model
COPY . .
RUN python -m pip install --no-cache-dir -r requirements.txt && python run.pyz --check
USER 65534
ENTRYPOINT ["python", "/model/run.pyz"]
CMD ["--check"]
"""


def write_bundle(found: CellRecords, root: Path, out: Path, *, key: Path | None) -> str | None:
    """Write the bundle of a cell into the directory `out` and, beside it, as a tar; returns the signer's fingerprint.

    The artifact is taken from this machine and checked against the record's sha256. Raises EdgeproofError where it is
    not that, or was not measured to be usable; ConfigError for a key that can't sign.
    """
    row = _row(found, root)
    content = next(record.content for record in found.records if record.content.get("job"))
    artifact = _artifact(found, root)
    signer = None if key is None else signing.load_key(key)
    with write_atomically(out) as place:
        shutil.copytree(artifact, place / "artifact", copy_function=shutil.copyfile)
        packages = {name: of for name, of in content["job"]["packages"].items() if name != LOADGEN}
        python = ".".join(str(content["result"]["fingerprint"].get("python", "3.11")).split(".")[:2])
        _zipapp(str(content["runtime"]), str(content["task"]), place / "run.pyz")
        write_json(place / "bundle.json", _described(content, packages))
        write_text(place / "requirements.txt", "".join(f"{name}=={of}\n" for name, of in sorted(packages.items())))
        write_text(place / "Dockerfile", DOCKERFILE.format(python=python))
        write_text(place / "MODEL_CARD.md", _card(found, root, row))
        fingerprint = _sign(place, signer)
        _tar(place, out.with_name(f"{out.name}.tar"), out.name)
    return fingerprint


def _row(found: CellRecords, root: Path) -> Row:
    cell = found.cell
    order = {"devices": [cell.device], "models": [cell.model], "runtimes": [cell.runtime]}
    row = rows.build_rows(summaries.summarize_records(found.records, root), baseline=cell.model, order=order)[0]
    if row.verdict in ("unsupported", "error") or row.accuracy is None:
        raise EdgeproofError(
            f"{cell} is {row.verdict} and has no accuracy: {'; '.join(row.reasons)}. Nothing is bundled."
        )
    return row


def _artifact(found: CellRecords, root: Path) -> Path:
    link = next(link for link in lineage.trace_lineage(found, root) if link.role == "artifact")
    if link.state != lineage.INTACT or link.place is None:
        raise EdgeproofError(
            f"the measured artifact of {found.cell} ({link.sha256[:12]}) is not at {link.place}: {link.state}. "
            "'dvc pull' or 'dvc repro' brings it back."
        )
    return link.place


def _described(content: Mapping[str, Any], packages: Mapping[str, str]) -> dict[str, Any]:
    model = content["artifact"]["model"]
    return {
        "schema": 1,
        "name": f"{content['model']} {content['scheme']}",
        "runtime": content["runtime"],
        "task": content["task"],
        "input_shape": model["network"]["input_shape"],
        "packages": dict(packages),
        "artifact_sha256": content["artifact"]["sha256"],
        "model_sha256": model["sha256"],
        "data_sha256": model["data_sha256"],
        "commit": (content.get("commit") or {}).get("id"),
    }


def _zipapp(runtime: str, task: str, path: Path) -> None:
    """The inference entry with one runtime and one task's preprocessing, byte-identical wherever it is built."""
    files = {
        f"edgeproof/{source.relative_to(runner_zipapp.PACKAGE).as_posix()}": source.read_bytes()
        for pattern in SHIPPED
        for source in runner_zipapp.PACKAGE.glob(pattern)
    }
    for kind, name in (("runtimes", runtime), ("tasks", task)):
        files[f"edgeproof/{kind}/{name}.py"] = plugins.find_source(kind, name).read_bytes()
    files["__main__.py"] = files["edgeproof/deployed/__main__.py"]
    write_bytes(path, runner_zipapp.zip_files(files))


def _card(found: CellRecords, root: Path, row: Row) -> str:
    """What a user must know before using it, all of it from the records."""
    told = [
        ("accuracy", f"{tables.percent_cell(row.accuracy)} %, over the task's whole test split"),
        ("median latency", f"{tables.us_cell(row.p50_ns)} µs, batch 1, {row.threads} thread(s)"),
        ("99th percentile", f"{tables.us_cell(row.p99_ns)} µs"),
        ("size", f"{tables.bytes_cell(row.size_bytes)} KiB"),
        ("parameters", tables.count_cell(row.parameters)),
        ("verdict", "; ".join([row.verdict, *row.reasons])),
        ("measured", f"on {row.device} ({row.cpu}), {row.measured_at}, preset {row.preset}"),
    ]
    chain = lineage.explain(found, root)
    return tables.escape_lines(
        [
            f"# {found.cell.model}, {found.cell.scheme}, for {found.cell.runtime}",
            "",
            *(f"- **{name}**: {text}" for name, text in told),
            "",
            "Brackets are 95% intervals. Latency holds on the machine named above and nowhere else; accuracy on the "
            "task's own test split and on inputs like it. No other property was measured: neither fairness nor "
            "robustness nor behaviour on inputs of another kind.",
            "",
            "## Use",
            "",
            "`python3 -m pip install -r requirements.txt` once, then `python3 run.pyz --check` or "
            "`python3 run.pyz inputs.npy --out outputs.npy`. Every file is verified before it is read; `--signer` "
            "names the key that must have signed them.",
            "",
            "## Lineage",
            "",
        ]
    ) + "".join(f"    {line}\n" for line in chain.splitlines())


def _sign(place: Path, key: Ed25519PrivateKey | None) -> str | None:
    """Write the manifest of all files and its signature; returns the key's fingerprint."""
    raw = None if key is None else signing.get_public_key(key)
    files = {name: hash_file(place / name) for name in list_files(place)}
    content = {"schema": manifest.SCHEMA, "files": files, "public_key": None if raw is None else raw.hex()}
    (place / manifest.MANIFEST).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    if key is None or raw is None:
        return None
    signature = key.sign((place / manifest.MANIFEST).read_bytes())
    (place / manifest.SIGNATURE).write_text(signature.hex() + "\n", encoding="ascii")
    return signatures.fingerprint(raw)


def list_files(place: Path) -> list[str]:
    """Relative paths of all files, sorted; files_of leaves meta.json out at the top alone."""
    return sorted({*list_files(place), *(path.relative_to(place).as_posix() for path in place.rglob("meta.json"))})


def _tar(place: Path, path: Path, name: str) -> None:
    """The directory as a tar whose bytes depend on its files alone."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for file in sorted(of for of in place.rglob("*") if of.is_file()):
            content = file.read_bytes()
            info = tarfile.TarInfo(f"{name}/{file.relative_to(place).as_posix()}")
            info.size, info.mode = len(content), 0o644
            archive.addfile(info, io.BytesIO(content))
    write_bytes(path, stream.getvalue())
