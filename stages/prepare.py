"""prepare: from public sources to splits on disk."""

from __future__ import annotations

import sys

from edgeproof import entry
from edgeproof.config import params
from edgeproof.data import preparation


def main() -> None:
    """Fetch and split the study's task."""
    for reason in preparation.prepare(params.load().task):
        print(f"  passed over {reason}", file=sys.stderr)


if __name__ == "__main__":
    entry.run(main)
