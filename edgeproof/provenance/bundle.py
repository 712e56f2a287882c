"""Write a deployment bundle: what a board needs to run an artifact, and to check that it is the measured one.

run.pyz           verifies the bundle, then infers: python3 run.pyz --check, python3 run.pyz inputs.npy, and for a
                  detector also python3 run.pyz photo.jpg --out boxes.jpg
artifact/         the artifact's files, samples, and the reference model's answers to them
bundle.json       runtime, task, versions, and hashes of the lineage
MODEL_CARD.md     figures with their conditions, lineage, limits
requirements.txt  the versions that it was measured with, and Pillow for a detector
Dockerfile        the same as a container: docker build -t model .
MANIFEST.json     the sha256 of every file, and the signer's public key
MANIFEST.sig      its Ed25519 signature
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeproof.core import plugins, signatures
from edgeproof.core.described_tasks import find_description
from edgeproof.core.directories import hash_file, write_atomically, write_bytes, write_json, write_text
from edgeproof.core.errors import ConfigError, EdgeproofError
from edgeproof.core.regular_files import list_content
from edgeproof.deployed import manifest
from edgeproof.devices import imports, runner_zipapp
from edgeproof.provenance.cells import CellRecords
from edgeproof.provenance.explanation import explain
from edgeproof.provenance.lineage import require_artifact
from edgeproof.records import signing
from edgeproof.records.record import Record
from edgeproof.report.figures import FIGURES, choose_figure
from edgeproof.report.markdown_text import escape_lines
from edgeproof.report.row import Row

LOADGEN = "mlcommons-loadgen"
PICTURE_USE = (
    "`python3 run.pyz ../photo.jpg --out ../boxes.jpg` prints a line for each box (class, score, x1, y1, x2, y2 in "
    "pixels of the photograph) and draws the boxes into a copy. `--min-score 0.3` shows less certain ones.",
    "",
)
# The base image has its full name: Podman and Buildah may know no registry for a short one.
DOCKERFILE = """FROM docker.io/library/python:{python}-slim
WORKDIR /model
COPY . .
RUN python -I run.pyz --verify
RUN python -m pip install --no-cache-dir -r requirements.txt && python -I run.pyz --check
USER 65534
ENTRYPOINT ["python", "-I", "/model/run.pyz"]
CMD ["--check"]
"""
# Whoever changes the bundle can change this file too. The build argument pins the signer from outside.
SIGNED_DOCKERFILE = """FROM docker.io/library/python:{python}-slim
ARG SIGNER={signer}
WORKDIR /model
COPY . .
RUN python -I run.pyz --verify --signer "$SIGNER"
RUN python -m pip install --no-cache-dir -r requirements.txt && python -I run.pyz --check --signer "$SIGNER"
USER 65534
ENTRYPOINT ["python", "-I", "/model/run.pyz", "--signer", "{signer}"]
CMD ["--check"]
"""


def write_bundle(cell: CellRecords, root: Path, out: Path, *, key: Path | None) -> str | None:
    """Write the bundle of a cell into the directory `out` and as a tar beside it. Return the signer's fingerprint.

    The bytes depend on the records, the artifact and the code only.

    Args:
        cell: the cell to bundle.
        root: the directory of the records.
        out: the directory to write.
        key: the private key that signs; None for an unsigned bundle.

    Raises EdgeproofError when the measured artifact is not on this machine or its runs failed, and ConfigError when the
    key can't sign, or when `out` is a directory with other files, which would be replaced.
    """
    _check_target(out)
    row = _build_row(cell, root)
    record = next(record for record in cell.records if record.job is not None)
    artifact = _find_artifact(cell, root)
    signer = None if key is None else signing.load_key(key)
    with write_atomically(out) as directory:
        shutil.copytree(artifact, directory / "artifact", copy_function=shutil.copyfile)
        packages = _list_packages(record)
        chosen = [("runtimes", record.identity.runtime)]
        has_module = find_description(artifact) is None
        if has_module:
            chosen.append(("tasks", record.identity.task))
        takes_pictures = has_module and hasattr(plugins.load("tasks", record.identity.task), "PICTURES")
        _write_program(chosen, directory / "run.pyz")
        write_json(directory / "bundle.json", _describe(record, packages))
        required = {**packages, **({"pillow": importlib.metadata.version("pillow")} if takes_pictures else {})}
        requirements = "".join(f"{name}=={version}\n" for name, version in sorted(required.items()))
        write_text(directory / "requirements.txt", requirements)
        write_text(directory / "Dockerfile", _format_dockerfile(record, signer))
        write_text(directory / "MODEL_CARD.md", _format_card(cell, root, row, takes_pictures=takes_pictures))
        fingerprint = _sign(directory, signer)
        _write_tar(directory, out.with_name(f"{out.name}.tar"), out.name)
    return fingerprint


def _check_target(out: Path) -> None:
    """Raise ConfigError unless `out` is a new name, an empty directory or an older bundle."""
    content = list(out.iterdir()) if out.is_dir() else [out] if out.exists() else []
    if out.name in ("", "..") or (content and not (out / manifest.MANIFEST).is_file()):
        raise ConfigError(f"{out} holds other files than a bundle, which would be replaced. Choose a new directory.")


def _build_row(cell: CellRecords, root: Path) -> Row:
    row = cell.build_row(root)
    if row.verdict in ("unsupported", "error") or row.quality is None:
        raise EdgeproofError(
            f"{cell.address} is {row.verdict} and has no quality: {'; '.join(row.reasons)}. Nothing is bundled."
        )
    return row


def _find_artifact(cell: CellRecords, root: Path) -> Path:
    path = require_artifact(cell, root)
    others = list_content(path).others
    if others:
        raise EdgeproofError(f"{path / others[0]} is not a regular file. Replace it by a copy of its target.")
    return path


def _list_packages(record: Record) -> dict[str, str]:
    """Return the versions of the packages that inference needs."""
    packages = record.job.packages if record.job is not None else {}
    return {name: version for name, version in packages.items() if name != LOADGEN}


def _get_python_version(record: Record) -> str:
    """Return the major and minor version of the Python that measured."""
    fingerprint = {} if record.result is None else record.result.fingerprint
    return ".".join(str(fingerprint.get("python", "3.11")).split(".")[:2])


def _format_dockerfile(record: Record, key: Ed25519PrivateKey | None) -> str:
    """Return the Dockerfile, which verifies the bundle, and its signer, before it installs anything."""
    python = _get_python_version(record)
    if key is None:
        return DOCKERFILE.format(python=python)
    return SIGNED_DOCKERFILE.format(python=python, signer=signatures.fingerprint(signing.get_public_key(key)))


def _describe(record: Record, packages: Mapping[str, str]) -> dict[str, Any]:
    """Return the content of bundle.json."""
    identity, model = record.identity, record.artifact.model
    return {
        "schema": 1,
        "name": f"{identity.model} {identity.scheme}",
        "runtime": identity.runtime,
        "task": identity.task,
        "packages": dict(packages),
        "artifact_sha256": record.artifact.sha256,
        "model_sha256": model.sha256,
        "data_sha256": model.data_sha256,
        "commit": None if record.commit is None else record.commit.id,
    }


def _write_program(chosen: Sequence[tuple[str, str]], path: Path) -> None:
    """Write run.pyz with plugins: a runtime, and a task's preprocessing unless the artifact describes the task.

    Its bytes are the same wherever it is written.
    """
    files = imports.read_program(
        "edgeproof.deployed.__main__",
        {f"edgeproof.{kind}.{name}": plugins.find_source(kind, name) for kind, name in chosen},
    )
    write_bytes(path, runner_zipapp.zip_files(files))


def _format_card(cell: CellRecords, root: Path, row: Row, *, takes_pictures: bool) -> str:
    """Return MODEL_CARD.md: what a user must know before using the artifact, from the records."""

    def text(name: str) -> str:
        return FIGURES[name].format_row_cell(row)

    quality = choose_figure("quality", [row])
    facts = [
        (quality.heading, f"{text('quality')} {quality.unit}".rstrip() + ", over the task's whole test split"),
        ("median latency", f"{text('p50')} µs, batch 1, {row.threads} thread(s)"),
        ("99th percentile", f"{text('p99')} µs"),
        ("size", f"{text('size')} KiB"),
        ("parameters", text("parameters")),
        ("verdict", "; ".join([row.verdict, *row.reasons])),
        ("measured", f"on {row.device} ({row.cpu}), {row.measured_at}, preset {row.preset}"),
    ]
    address = cell.address
    return escape_lines(
        [
            f"# {address.model}, {address.scheme}, for {address.runtime}",
            "",
            *(f"- **{name}**: {fact}" for name, fact in facts),
            "",
            "Brackets are 95% intervals. Latency holds on the machine named above and nowhere else; quality on the "
            "task's own test split and on inputs like it. No other property was measured: neither fairness nor "
            "robustness nor behaviour on inputs of another kind.",
            "",
            "## Use",
            "",
            "`python3 -m pip install -r requirements.txt` once, then `python3 run.pyz --check` or "
            "`python3 run.pyz ../inputs.npy --out ../outputs.npy`. Every file is verified before it is read; "
            "`--signer` names the key that must have signed them. Keep inputs and outputs outside this directory: a "
            "file that the manifest does not name is refused.",
            "",
            *(PICTURE_USE if takes_pictures else ()),
            "## Lineage",
            "",
        ]
    ) + "".join(f"    {line}\n" for line in explain(cell, root).splitlines())


def _sign(directory: Path, key: Ed25519PrivateKey | None) -> str | None:
    """Write the manifest of all files, and its signature if there is a key. Return the key's fingerprint."""
    public_key = None if key is None else signing.get_public_key(key)
    files = {name: hash_file(directory / name) for name in list_content(directory).files}
    content = {
        "schema": manifest.SCHEMA,
        "files": files,
        "public_key": None if public_key is None else public_key.hex(),
    }
    (directory / manifest.MANIFEST).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    if key is None or public_key is None:
        return None
    signature = key.sign((directory / manifest.MANIFEST).read_bytes())
    (directory / manifest.SIGNATURE).write_text(signature.hex() + "\n", encoding="ascii")
    return signatures.fingerprint(public_key)


def _write_tar(directory: Path, path: Path, name: str) -> None:
    """Write the directory as a tar whose bytes depend on its files only."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for file in list_content(directory).files:
            content = (directory / file).read_bytes()
            info = tarfile.TarInfo(f"{name}/{file}")
            info.size, info.mode = len(content), 0o644
            archive.addfile(info, io.BytesIO(content))
    write_bytes(path, stream.getvalue())
