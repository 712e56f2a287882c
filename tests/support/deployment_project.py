"""A project with registered versions whose signed bundles can be deployed to fake devices."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeproof.cli import main
from edgeproof.core import signatures
from edgeproof.provenance import bundle
from edgeproof.records import signing
from tests.support import bundle_project
from tests.support.project import make_empty_project

NAME = "m-matrix-fp32"
CELL = "local/matrix/m/fp32"
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
SIGNER = signatures.fingerprint(signing.get_public_key(KEY))
# The versions that infer, and those with a program of one line that is fast.
REAL, FAST = ("v4", "v5"), ("v1", "v2", "v3")
VERSIONS = (*FAST, *REAL)
FAST_PROGRAM = """\
import pathlib, sys
broken = pathlib.Path(sys.argv[0]).with_name("broken").exists()
if "--measure" in sys.argv:
    print({"durations_ns": [1000] * 100, "peak_rss_bytes": 1000}.__repr__().replace("'", '"'))
sys.exit("the answers are wrong" if broken else 0)
"""


def name_version(version: str) -> str:
    """Return the name of a version in the registry: 'v1' becomes m-matrix-fp32@v1.0.0."""
    return f"{NAME}@{version}.0.0"


def artifact_sha256(version: str) -> str:
    """Return the sha256 that a version's tag and bundle state."""
    return version[1:] * 64


def write_bundles(root: Path, plugin_root: Path) -> Path:
    """Write a signed bundle of each version into root/bundles and return that directory. The current one is `root`."""
    bundle_project.write_project(root, plugin_root)
    assert main.run(["bundle", "m/fp32", "--out", "first", "--key", "key"]) == 0
    for version in VERSIONS:
        shutil.copytree("first", root / "bundles" / version)
        if version in FAST:
            (root / "bundles" / version / "run.pyz").write_text(FAST_PROGRAM)
        sign_bundle(root / "bundles" / version, artifact_sha256(version))
    return root / "bundles"


def sign_bundle(place: Path, artifact: str | None = None, key: Ed25519PrivateKey | None = KEY) -> None:
    """Sign a bundle whose files were changed, and let it state another artifact if one is given."""
    if artifact is not None:
        content = json.loads((place / "bundle.json").read_text())
        (place / "bundle.json").write_text(json.dumps({**content, "artifact_sha256": artifact}))
    for name in ("MANIFEST.json", "MANIFEST.sig"):
        (place / name).unlink(missing_ok=True)
    bundle._sign(place, key)


def write_small_bundle(place: Path, model: str) -> None:
    """Write a signed bundle whose artifact is a text, and whose program is never started."""
    (place / "artifact").mkdir(parents=True)
    (place / "artifact/model").write_text(model)
    (place / "bundle.json").write_text('{"runtime": "null", "packages": {}}')
    sign_bundle(place)


def break_program(place: Path) -> None:
    """Let a bundle with a fast program fail its own check."""
    (place / "broken").touch()
    sign_bundle(place)


def break_answers(place: Path) -> None:
    """Let a bundle fail its own check: its samples do not have the expected answers."""
    expected = np.load(place / "artifact/expected.npy")
    np.save(place / "artifact/expected.npy", -expected)
    sign_bundle(place)


def write_project(root: Path, bundles: Path, devices: Mapping[str, Mapping[str, Any]]) -> None:
    """Write a repository with a tag for each version, a card for each device, the bundles, and the trusted key."""
    make_empty_project(root)
    shutil.copytree(bundles, root / "bundles")
    public = signatures.encode_public_key(signing.get_public_key(KEY))
    (root / "allowed_signers").write_text(f"me ssh-ed25519 {base64.b64encode(public).decode()}\n")
    (root / "devices").mkdir()
    for name, card in devices.items():
        (root / "devices" / f"{name}.yaml").write_text(yaml.safe_dump({"transport": "fake", "threads": 1, **card}))
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    run_git(root, "init", "-q")
    run_git(root, *identity, "commit", "-qm", "first", "--allow-empty")
    for version in VERSIONS:
        message = f"{CELL}, artifact sha256 {artifact_sha256(version)}"
        run_git(root, *identity, "tag", "-a", name_version(version), "-m", message)


def run_git(root: Path, *arguments: str) -> None:
    """Run git in a directory."""
    subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True)


def locate_deployment(root: Path, device: str) -> Path:
    """Return the directory of a fake device's deployments."""
    return root / ".edgeproof/devices" / device / "deployment"
