"""One inference as the runner measures it: a session, and the postprocessing of the job's task if it has one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeproof.core import plugins
from edgeproof.core.ports import Port
from edgeproof.core.sessions import InferenceSession

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Postprocessing:
    """The postprocess() of a task, and the ports of what it returns."""

    run: Callable[..., tuple[Array, ...]]
    ports: tuple[Port, ...]


@dataclass(frozen=True)
class Inference:
    """A loaded session with the postprocessing that follows it, or None."""

    session: InferenceSession
    postprocessing: Postprocessing | None = None

    def __call__(self, *inputs: Array) -> tuple[Array, ...]:
        """Run one whole inference, as an application does, and return what the application reads."""
        outputs = self.session(*inputs)
        return outputs if self.postprocessing is None else self.postprocessing.run(*outputs)


def load_postprocessing(task: str | None) -> Postprocessing | None:
    """Load the postprocessing of a job's task. A job without a task has none."""
    if task is None:
        return None
    plugin = plugins.load("tasks", task)

    def run(*outputs: Array) -> tuple[Array, ...]:
        results = plugin.postprocess(*outputs)
        return results if isinstance(results, tuple) else (results,)

    return Postprocessing(run, tuple(plugin.POSTPROCESSED))
