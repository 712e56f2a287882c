"""quantize: make a model whose weights take few values."""

from __future__ import annotations

import sys

from edgeproof import entry
from edgeproof.config import params


def main() -> None:
    """Build the model named on the command line."""
    from edgeproof.models import build

    build.build(sys.argv[1], params.load())


if __name__ == "__main__":
    entry.run(main)
