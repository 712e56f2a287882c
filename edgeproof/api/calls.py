"""The surroundings of every call: a project, no telemetry, and an interruption that says how to continue."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Variables of edgeproof's commands that a notebook must not inherit: its own code may use a GPU.
NOT_HERE = ("CUDA_VISIBLE_DEVICES",)


@contextmanager
def prepare_call(*, needs_project: bool = True) -> Iterator[None]:
    """Run the body of a call in a project, with telemetry off. The environment is as before afterwards.

    Raises ConfigError when the working directory is no project. After Ctrl-C, the message says how to continue.
    """
    from edgeproof import entry
    from edgeproof.config.project import require_project

    if needs_project:
        require_project()
    before = {name: os.environ.get(name) for name in entry.QUIET_ENVIRONMENT}
    added = [name for name, value in before.items() if value is None and name not in NOT_HERE]
    os.environ.update({name: entry.QUIET_ENVIRONMENT[name] for name in added})
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted. Finished work is kept: the same call continues.", file=sys.stderr)
        raise
    finally:
        for name in added:
            os.environ.pop(name, None)
