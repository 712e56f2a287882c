"""The files of a client's job: what a device needs to train one client for one round, and its result.

    job.json         settings, the network, the task, and the sha256 of every other file
    weights.bin      the server's message
    residual.bin     what top-k has not sent yet, in float32 (top-k only)
    ../<sha256>.npz  the client's samples, and the tensors that are not exchanged: both are sent once
    result/          update.bin with the client's message, and residual.bin (top-k only)

Both ends import this module, so it needs torch and numpy only.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgeproof.federated.client import ClientJob, ClientResult
from edgeproof.federated.settings import Compression, LocalTraining, Privacy, ServerStep, Settings
from edgeproof.models.training_task import Split

Array = np.ndarray[Any, Any]

JOB, WEIGHTS, RESIDUAL, UPDATE, RESULT = "job.json", "weights.bin", "residual.bin", "update.bin", "result"
_TARGETS, _INPUT = "targets", "input_"


@dataclass(frozen=True)
class JobSpec:
    """Content of job.json.

    Attributes:
        network: the entry of meta.json that says how the module is built.
        tensors: the dtype and the shape of every tensor of the module.
        task, description: the name of a task with a file of its own, or the content of its task.json.
        files: the sha256 of each file in the job's directory.
        samples, constants: the sha256 of two files beside that directory.
    """

    client: int
    round_number: int
    settings: Mapping[str, Any]
    network: Mapping[str, Any]
    tensors: Mapping[str, tuple[str, list[int]]]
    task: str
    description: Mapping[str, Any] | None
    from_parent: bool
    files: Mapping[str, str]
    samples: str
    constants: str

    def list_files(self, folder: Path) -> dict[Path, str]:
        """Return the sha256 of each file that the job reads, those beside its directory `folder` included."""
        stored = {folder.parent / name_stored(digest): digest for digest in (self.samples, self.constants)}
        return {**{folder / name: digest for name, digest in self.files.items()}, **stored}


def name_stored(digest: str) -> str:
    """Return the name of a file that several jobs share."""
    return f"{digest}.npz"


def write_job(spec: JobSpec, job: ClientJob, folder: Path) -> str:
    """Write the files of a job and return the sha256 of job.json."""
    folder.mkdir()
    for name, content in list_contents(job).items():
        (folder / name).write_bytes(content)
    text = json.dumps(asdict(spec), allow_nan=False).encode()
    (folder / JOB).write_bytes(text)
    return hash_bytes(text)


def list_contents(job: ClientJob) -> dict[str, bytes]:
    """Return the content of each file in a job's directory but job.json."""
    residual = {} if job.residual is None else {RESIDUAL: job.residual.astype("<f4").tobytes()}
    return {WEIGHTS: job.weights, **residual}


def read_job_spec(folder: Path, digest: str) -> JobSpec:
    """Read job.json and check every file of the job. Raises ValueError for one that was damaged."""
    content = (folder / JOB).read_bytes()
    if hash_bytes(content) != digest:
        raise ValueError(f"{JOB} was damaged on this device")
    spec = JobSpec(**json.loads(content))
    for path, expected in spec.list_files(folder).items():
        if hash_bytes(path.read_bytes()) != expected:
            raise ValueError(f"{path.name} was damaged on this device")
    return spec


def restore_settings(content: Mapping[str, Any]) -> Settings:
    """Return the settings that asdict() made plain data of."""
    parts = {
        "local": LocalTraining(**content["local"]),
        "step": ServerStep(**content["step"]),
        "compression": Compression(**content["compression"]),
        "privacy": None if content["privacy"] is None else Privacy(**content["privacy"]),
    }
    return Settings(**{**content, **parts})


def pack_split(split: Split) -> bytes:
    """Return the samples of a split as one file."""
    inputs = {f"{_INPUT}{number}": tensor.numpy() for number, tensor in enumerate(split.inputs)}
    return pack_arrays({**inputs, _TARGETS: split.targets.numpy()})


def pack_arrays(arrays: Mapping[str, Array]) -> bytes:
    """Return named arrays as the content of an .npz file."""
    buffer = io.BytesIO()
    np.savez(buffer, **{name: np.asarray(array, order="C") for name, array in arrays.items()})  # type: ignore[arg-type]
    return buffer.getvalue()


def read_arrays(path: Path) -> dict[str, Array]:
    """Return the arrays of an .npz file. Raises ValueError if it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (zipfile.BadZipFile, EOFError, KeyError) as error:
        raise ValueError(f"{path.name} is damaged: {error}") from None


def read_split(path: Path) -> Split:
    """Return the samples of pack_split()."""
    arrays = read_arrays(path)
    targets = torch.from_numpy(arrays.pop(_TARGETS))
    return Split(tuple(torch.from_numpy(arrays[f"{_INPUT}{number}"]) for number in range(len(arrays))), targets)


def write_result(result: ClientResult, folder: Path) -> None:
    """Write a result as files."""
    folder.mkdir()
    (folder / UPDATE).write_bytes(result.message)
    if result.residual is not None:
        (folder / RESIDUAL).write_bytes(result.residual.astype("<f4").tobytes())


def hash_bytes(content: bytes) -> str:
    """Return the sha256 of a file's content."""
    return hashlib.sha256(content).hexdigest()
