"""prepare: fetch a task's data and split it."""

from __future__ import annotations

import sys

from edgeproof import entry


def main() -> None:
    """Prepare the data of the task in params.yaml."""
    from edgeproof.config import params_file
    from edgeproof.data import own_data, preparation

    task = params_file.read_params().task
    for note in preparation.prepare(task) if task.options is None else own_data.prepare(task):
        print(f"  {note}", file=sys.stderr)


if __name__ == "__main__":
    entry.run(main)
