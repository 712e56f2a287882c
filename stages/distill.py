"""distill: make a student from what a teacher knows."""

from __future__ import annotations

import sys

from edgeproof import entry, params


def main() -> None:
    """Build the model named on the command line."""
    from edgeproof import building

    building.build(sys.argv[1], params.load())


if __name__ == "__main__":
    entry.run(main)
