"""Verify the bundle that this file lies in, then infer.

    python3 run.pyz --check                     verify, run the samples that came with it, compare with the reference
    python3 run.pyz inputs.npy --out outputs.npy    raw inputs (N, …) as the task's data has them

Nothing of the bundle but this file is read before all of it is verified.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
from pathlib import Path

from edgeproof.deployed import manifest

REFUSED = 3


def main() -> int:
    """Verify and run; 3 where the bundle or the machine is not what it must be."""
    parser = argparse.ArgumentParser(prog="run.pyz", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("inputs", nargs="?", type=Path, help=".npy with raw inputs, one sample a row")
    parser.add_argument("--out", type=Path, help=".npy to write the outputs to; without it answers are printed")
    parser.add_argument("--check", action="store_true", help="run the bundle's own samples")
    parser.add_argument("--signer", help="fingerprint of the key that must have signed the bundle (SHA256:…)")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.check == (arguments.inputs is not None):
        parser.error("name inputs, or ask for --check")
    os.environ.pop("EDGEPROOF_PLUGINS", None)  # code from outside the bundle was verified by nobody
    root = Path(sys.argv[0]).resolve().parent
    wrong = manifest.find_problems(root, arguments.signer) or find_package_problems(root)
    if wrong:
        print(*(f"refused: {line}" for line in wrong), sep="\n", file=sys.stderr)
        return REFUSED
    from edgeproof.deployed import inference

    if arguments.check:
        return inference.check(root, threads=arguments.threads)
    return inference.infer(root, arguments.inputs, arguments.out, threads=arguments.threads)


def find_package_problems(root: Path) -> list[str]:
    """The packages that the bundle was measured with and this machine lacks or has in another version."""
    wanted = json.loads((root / "bundle.json").read_text(encoding="utf-8"))["packages"]
    missing = []
    for name, version in wanted.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = "none"
        if found != version:
            missing.append(f"needs {name} {version}, has {found}: python3 -m pip install -r requirements.txt")
    return missing


if __name__ == "__main__":
    sys.exit(main())
