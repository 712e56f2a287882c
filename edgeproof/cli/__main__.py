"""Run the command line: python -m edgeproof.cli."""

from edgeproof.cli.main import main

main()
