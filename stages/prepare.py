"""prepare: from public sources to splits on disk."""

from __future__ import annotations

import sys

from edgeproof import dataset, entry, params


def main() -> None:
    """Fetch and split the study's task."""
    for reason in dataset.prepare(params.load().task):
        print(f"  passed over {reason}", file=sys.stderr)


if __name__ == "__main__":
    entry.run(main)
