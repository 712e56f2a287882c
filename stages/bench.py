"""bench: measure every artifact of one runtime on one device."""

from __future__ import annotations

import sys

from edgeproof import entry


def main() -> None:
    """Run the session named on the command line."""
    from edgeproof.bench import session
    from edgeproof.config import params_file

    session.run_study_session(sys.argv[1], params_file.read_params())


if __name__ == "__main__":
    entry.run(main)
