"""Run edgeproof.farm.session with limits that no other work on the machine exceeds."""

from __future__ import annotations

import sys

from edgeproof import entry
from edgeproof.farm import session
from tests.support.verdict_limits import TOLERANT

if __name__ == "__main__":
    entry.run(lambda: session.main(sys.argv[1:], TOLERANT))
