"""The state of a federation on disk, written atomically after each round. A killed run goes on to the same bits.

    state.npz                      global weights, the sum of those to average, the server's moments, and the history of
                                   the finished rounds
    residuals/<client>/<round>.npy what top-k has not sent yet, after the given round

A residual of an unfinished round is removed at the start, and older ones after a round is finished. So the newest
residual of a client always belongs to the state.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core.directories import write_bytes
from edgeproof.core.errors import ArtifactError
from edgeproof.federated.history import Round
from edgeproof.federated.strategies import Moments
from edgeproof.federated.weights import Weights

Array = np.ndarray[Any, Any]

# What reading a damaged file raises; an empty one raises EOFError.
_DAMAGE = (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile)
_STATE, _RESIDUALS, _MOMENT, _TOTAL = "state.npz", "residuals", "moment_", "total_"


@dataclass(frozen=True)
class State:
    """The state between two rounds. `total` is the sum of the global models that the result averages, or None."""

    weights: Weights
    moments: Moments
    rounds: tuple[Round, ...]
    total: Weights | None = None


class Checkpoints:
    """The directory that holds the state of one federation. Without a directory, nothing survives the process."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._residuals: dict[int, Array] = {}

    def load(self) -> State | None:
        """Return the state after the last finished round, or None at the beginning. Raises ArtifactError."""
        if self._directory is None or not (path := self._directory / _STATE).is_file():
            state = None
        else:
            try:
                state = _parse(path.read_bytes())
            except _DAMAGE as error:
                raise self._describe_damage(path, error) from error
        self._remove_residuals_after(0 if state is None else len(state.rounds))
        return state

    def save(self, state: State, answered: Sequence[int]) -> None:
        """Write the state after a round, and remove the older residuals of the clients that answered in it."""
        if self._directory is None:
            return
        write_bytes(self._directory / _STATE, _format(state))
        for client in answered:
            for path in self._list_residuals(client)[:-1]:
                path.unlink(missing_ok=True)

    def load_residual(self, client: int) -> Array | None:
        """Return a client's newest residual, or None if it has none. Raises ArtifactError."""
        if self._directory is None:
            return self._residuals.get(client)
        paths = self._list_residuals(client)
        if not paths:
            return None
        try:
            residual: Array = np.load(paths[-1], allow_pickle=False)
        except _DAMAGE as error:
            raise self._describe_damage(paths[-1], error) from error
        return residual

    def save_residual(self, client: int, round_number: int, residual: Array | None) -> None:
        """Keep the residual that a client has after a round. None means that it forgets the one before."""
        if residual is None:
            if self.load_residual(client) is None:
                return
            residual = np.zeros_like(self.load_residual(client))
        if self._directory is None:
            self._residuals[client] = residual
            return
        buffer = io.BytesIO()
        np.save(buffer, residual)
        write_bytes(self._directory / _RESIDUALS / str(client) / f"{round_number}.npy", buffer.getvalue())

    def _describe_damage(self, path: Path, error: Exception) -> ArtifactError:
        return ArtifactError(
            f"{path} is damaged ({error}). Remove it with 'rm -r {self._directory}', then run the same command "
            "again. It starts with the first round."
        )

    def remove(self) -> None:
        """Remove the directory after the last round."""
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            with contextlib.suppress(OSError):
                self._directory.parent.rmdir()

    def _list_residuals(self, client: int) -> list[Path]:
        assert self._directory is not None
        paths = (self._directory / _RESIDUALS / str(client)).glob("*.npy")
        return sorted((path for path in paths if path.stem.isdigit()), key=lambda path: int(path.stem))

    def _remove_residuals_after(self, finished: int) -> None:
        if self._directory is None:
            return
        for path in (self._directory / _RESIDUALS).glob("*/*.npy"):
            if path.stem.isdigit() and int(path.stem) > finished:
                path.unlink()


def _format(state: State) -> bytes:
    history = json.dumps([entry.to_json() for entry in state.rounds]).encode()
    total = {} if state.total is None else {_TOTAL + name: values for name, values in vars(state.total).items()}
    buffer = io.BytesIO()
    np.savez(
        buffer,
        parameters=state.weights.parameters,
        statistics=state.weights.statistics,
        history=np.frombuffer(history, np.uint8),
        **{f"{_MOMENT}{name}": moment for name, moment in state.moments.items()},  # type: ignore[arg-type]
        **total,
    )
    return buffer.getvalue()


def _parse(content: bytes) -> State:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        moments = {name.removeprefix(_MOMENT): arrays[name] for name in arrays.files if name.startswith(_MOMENT)}
        history = json.loads(arrays["history"].tobytes())
        weights = Weights(arrays["parameters"], arrays["statistics"])
        has_total = f"{_TOTAL}parameters" in arrays.files
        total = Weights(arrays[f"{_TOTAL}parameters"], arrays[f"{_TOTAL}statistics"]) if has_total else None
    return State(weights, moments, tuple(Round.from_json(entry) for entry in history), total)
