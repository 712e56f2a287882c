"""bench: measure every artifact of one runtime on one device."""

from __future__ import annotations

import sys

from edgeproof import benching, entry, params


def main() -> None:
    """Run the session named on the command line."""
    benching.bench(sys.argv[1], params.load())


if __name__ == "__main__":
    entry.run(main)
