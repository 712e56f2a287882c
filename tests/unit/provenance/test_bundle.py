"""Write bundles: verified before they run, run with one command, and equal bytes for equal artifacts."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.cli import main
from edgeproof.core import described_tasks, ed25519
from edgeproof.core.described_tasks import DescribedInput, TaskDescription
from edgeproof.core.directories import content_sha256, read_meta, write_json, write_meta
from edgeproof.core.errors import ConfigError, EdgeproofError
from edgeproof.core.ports import Port
from edgeproof.deployed import manifest
from tests.support import bundle_project, tiny_task

RECORDS = Path("results/records")


# --- the signature --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "message", "signature"),
    [  # RFC 8032, section 7.1, tests 1 to 3
        (
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ],
)
def test_the_published_signatures_are_verified(key: str, message: str, signature: str) -> None:
    assert ed25519.verify(bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(signature))
    assert not ed25519.verify(bytes.fromhex(key), bytes.fromhex(message) + b"x", bytes.fromhex(signature))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100), st.integers(0, 511))
def test_signatures_of_a_library_are_verified_and_those_with_a_flipped_bit_refused(
    seed: bytes, message: bytes, bit: int
) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    signature = key.sign(message)
    assert ed25519.verify(public, message, signature)
    flipped = bytearray(signature)
    flipped[bit // 8] ^= 1 << bit % 8
    assert not ed25519.verify(public, message, bytes(flipped))


@given(st.binary(max_size=40), st.binary(max_size=70))
def test_bytes_that_are_not_a_key_or_a_signature_are_refused(key: bytes, signature: bytes) -> None:
    assert not ed25519.verify(key, b"message", signature)


def test_a_fingerprint_equals_the_one_that_openssh_prints(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.from_private_bytes(b"k" * 32).public_key()
    public = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    (tmp_path / "key.pub").write_bytes(public + b" comment\n")
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    try:
        printed = subprocess.run(
            ["ssh-keygen", "-lf", tmp_path / "key.pub"], capture_output=True, text=True, check=True
        )
    except FileNotFoundError:
        pytest.skip("ssh-keygen is not installed")
    assert manifest.fingerprint(raw) in printed.stdout.split()


# --- the bundle -----------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, plugin_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a matrix as an artifact with valid records, and a key."""
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    bundle_project.write_project(project, plugin_root)
    return project


def write_bundle(*arguments: str) -> Path:
    assert main.run(["bundle", "m/fp32", "--out", "out/m", *arguments]) == 0
    return Path("out/m")


def run(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(place / "run.pyz"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def read_signer(capsys: pytest.CaptureFixture[str]) -> str:
    return next(word for word in capsys.readouterr().out.split() if word.startswith("SHA256:"))


def test_one_command_verifies_and_runs_a_bundle_from_its_tar_file(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bundle("--key", "key")
    fingerprint = read_signer(capsys).rstrip(".")
    with tarfile.open("out/m.tar") as archive:
        archive.extractall("board", filter="data")
    done = run(Path("board/m"), "--check", "--signer", fingerprint)
    assert (done.returncode, done.stdout) == (0, "verified; 6 of 6 answers agree with the reference model\n"), (
        done.stderr
    )
    assert "Traceback" not in done.stderr


def test_raw_inputs_are_preprocessed_and_answered(project: Path) -> None:
    place = write_bundle()
    rng = np.random.default_rng(1)
    inputs = rng.standard_normal((5, *tiny_task.INPUT_SHAPE)).astype(np.float32)
    np.save("inputs.npy", inputs)
    expected = inputs.reshape(5, -1) @ tiny_task.matrix().T
    done = run(place, "inputs.npy")
    assert done.stdout.split() == [str(answer) for answer in expected.argmax(1)]
    assert run(place, "inputs.npy", "--out", "outputs.npy").returncode == 0
    np.testing.assert_allclose(np.load("outputs.npy"), expected, rtol=1e-5)


def test_the_same_artifact_makes_the_same_bytes(project: Path) -> None:
    write_bundle("--key", "key")
    first = Path("out/m.tar").read_bytes()
    write_bundle("--key", "key")
    assert Path("out/m.tar").read_bytes() == first


def test_the_card_and_the_requirements_describe_the_artifact(project: Path) -> None:
    place = write_bundle()
    assert (place / "requirements.txt").read_text() == f"numpy=={np.__version__}\n"
    card = (place / "MODEL_CARD.md").read_text()
    for word in (
        "90.00 [",
        "5 [5, 5] µs",
        "edgeproof reproduce local/matrix/m/fp32",
        "Latency holds on the machine named",
    ):
        assert word in card
    dockerfile = (place / "Dockerfile").read_text()
    assert dockerfile.startswith("FROM docker.io/library/python:3.11-slim\n")
    assert "run.pyz --check" in dockerfile
    assert "LoadGen" not in "".join(path.name for path in place.rglob("*"))


@pytest.mark.parametrize("harm", ["flip", "remove", "add", "manifest", "signature", "both"])
def test_a_bundle_with_any_change_is_refused_before_anything_runs(project: Path, harm: str) -> None:
    place = write_bundle("--key", "key")
    artifact, listing = place / "artifact/matrix.npy", place / manifest.MANIFEST
    if harm == "flip":
        content = artifact.read_bytes()
        artifact.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif harm == "remove":
        artifact.unlink()
    elif harm == "add":
        (place / "numpy.py").write_text("raise SystemExit(99)")
    elif harm == "signature":
        (place / manifest.SIGNATURE).write_text("00" * 64)
    else:
        artifact.write_bytes(b"x")
        manifest_content = json.loads(listing.read_text())
        manifest_content["files"]["artifact/matrix.npy"] = (
            "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
        )
        listing.write_text(json.dumps(manifest_content) if harm == "both" else "{")
    done = run(place, "--check")
    assert done.returncode == 3
    assert done.stderr.startswith("refused: ")
    assert done.stdout == ""


def test_a_signature_by_another_key_than_the_given_one_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = write_bundle("--key", "key")
    assert "signed by SHA256:" in run(place, "--check", "--signer", "SHA256:other").stderr
    unsigned = write_bundle()
    assert "is not signed" in run(unsigned, "--check", "--signer", "SHA256:other").stderr
    assert run(unsigned, "--check").returncode == 0


def test_another_version_of_a_package_is_refused_with_the_command_that_installs_the_right_one(project: Path) -> None:
    for path in RECORDS.rglob("record.json"):
        path.write_text(path.read_text().replace(f'"numpy": "{np.__version__}"', '"numpy": "0.1"'))
    done = run(write_bundle(), "--check")
    assert done.returncode == 3
    assert f"needs numpy 0.1, has {np.__version__}: python3 -m pip install -r requirements.txt" in done.stderr


@pytest.mark.parametrize("harm", ["linked file", "linked directory", "pipe", "manifest"])
def test_links_and_pipes_are_refused_even_if_their_content_is_right(project: Path, harm: str) -> None:
    place, outside = write_bundle("--key", "key"), project / "outside"
    if harm == "pipe":
        os.mkfifo(place / "pipe")
    else:
        name = {"linked file": "artifact/matrix.npy", "linked directory": "artifact"}.get(harm, manifest.MANIFEST)
        (place / name).rename(outside)
        (place / name).symlink_to(outside)
    done = run(place, "--verify")
    assert done.returncode == 3
    assert ("is missing or damaged" if harm == "manifest" else "is not a regular file") in done.stderr


def test_an_artifact_with_a_link_is_not_bundled(project: Path) -> None:
    (project / "more.npy").write_bytes(b"x")
    Path("artifacts/matrix/m/fp32/more.npy").symlink_to(project / "more.npy")
    with pytest.raises(EdgeproofError, match=r"more\.npy is not a regular file"):
        write_bundle()
    assert not Path("out").exists()


def test_the_container_verifies_the_signer_before_it_installs_anything(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = write_bundle("--key", "key")
    signer = read_signer(capsys).rstrip(".")
    lines = (place / "Dockerfile").read_text().splitlines()
    verification = next(number for number, line in enumerate(lines) if "--verify" in line)
    installation = next(number for number, line in enumerate(lines) if "pip install" in line)
    assert verification < installation
    assert f"ARG SIGNER={signer}" in lines
    assert all("--signer" in line for line in lines if "run.pyz" in line)
    # Without site-packages: the base image has Python only.
    command = [sys.executable, "-I", "-S", str(place / "run.pyz"), "--verify", "--signer", signer]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"verified; signed by {signer}\n"), done.stderr


def test_a_changed_bundle_with_renewed_sums_fails_its_own_containers_verification(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = write_bundle("--key", "key")
    signer = read_signer(capsys).rstrip(".")
    (place / "artifact/matrix.npy").write_bytes(b"x")
    content = json.loads((place / manifest.MANIFEST).read_text())
    content["files"]["artifact/matrix.npy"] = hashlib.sha256(b"x").hexdigest()
    content["public_key"] = None
    (place / manifest.MANIFEST).write_text(json.dumps(content))
    assert run(place, "--verify").returncode == 0  # without a signer nothing is wrong
    done = run(place, "--verify", "--signer", signer)
    assert done.returncode == 3
    assert f"the bundle is not signed; it must be signed by {signer}" in done.stderr


def test_verification_of_an_unsigned_bundle_says_what_it_cannot_show(project: Path) -> None:
    assert "not signed, so anybody may have changed it" in run(write_bundle(), "--verify").stdout


@pytest.mark.parametrize("inputs", ["missing", "text", "no bytes", "cut archive", "no samples", "shape"])
def test_wrong_inputs_give_one_message(project: Path, inputs: str) -> None:
    place = write_bundle()
    contents = {"text": b"no array", "no bytes": b"", "cut archive": b"PK\x03\x04 and no more"}
    if inputs in contents:
        Path("inputs.npy").write_bytes(contents[inputs])
    elif inputs != "missing":
        np.save("inputs.npy", np.zeros((2, 3) if inputs == "shape" else (0, *tiny_task.INPUT_SHAPE), np.float32))
    done = run(place, "inputs.npy")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_a_message_about_inputs_does_not_control_the_terminal(project: Path) -> None:
    done = run(write_bundle(), "\x1b[31minputs.npy")
    assert done.returncode == 2
    assert "inputs.npy" in done.stderr
    assert "\x1b" not in done.stderr


def test_outputs_that_cannot_be_written_give_one_message(project: Path) -> None:
    place = write_bundle()
    np.save("inputs.npy", np.zeros((1, *tiny_task.INPUT_SHAPE), np.float32))
    done = run(place, "inputs.npy", "--out", "inputs.npy/outputs.npy")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: could not write inputs.npy/outputs.npy")


def test_outputs_do_not_replace_the_inputs(project: Path) -> None:
    place = write_bundle()
    np.save("inputs.npy", np.zeros((1, *tiny_task.INPUT_SHAPE), np.float32))
    before = Path("inputs.npy").read_bytes()
    done = run(place, "inputs.npy", "--out", "./inputs.npy")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "is the file with the inputs. Choose another file" in done.stderr
    assert Path("inputs.npy").read_bytes() == before


@pytest.mark.parametrize(
    "option", [("--threads", "0"), ("--threads", "two"), ("--measure", "nan"), ("--measure", "-1")]
)
def test_options_that_are_no_positive_numbers_are_named(project: Path, option: tuple[str, str]) -> None:
    done = run(write_bundle(), *option)
    assert done.returncode == 2
    assert f"'{option[1]}' is no" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("content", ['[[1, 2], ["a", 3]]', "[]", "null", '"text"'])
def test_a_manifest_whose_files_are_no_object_is_damaged(project: Path, content: str) -> None:
    place = write_bundle()
    (place / manifest.MANIFEST).write_text(f'{{"schema": 1, "files": {content}}}')
    assert manifest.find_problems(place, None) == ["MANIFEST.json is missing or damaged"]


def test_a_file_that_cannot_be_read_is_a_problem(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = write_bundle()

    def refuse(path: Path) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(manifest, "hash_file", refuse)
    assert manifest.find_problems(place, None) == ["out/m/Dockerfile cannot be read: Permission denied"]


def test_a_bundle_replaces_an_older_one_and_no_other_files(project: Path) -> None:
    write_bundle()
    Path("out/empty").mkdir()
    assert main.run(["bundle", "m/fp32", "--out", "out/empty"]) == 0
    for out in (".", "..", "results", "key"):
        with pytest.raises(ConfigError, match="holds other files than a bundle"):
            main.run(["bundle", "m/fp32", "--out", out])
    assert (project / "results").is_dir()
    write_bundle()


def test_a_photograph_is_refused_by_a_model_that_detects_nothing(project: Path) -> None:
    done = run(write_bundle(), "photo.jpg")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: this model detects nothing in pictures. Give it a .npy file of raw inputs.\n"


def test_an_artifact_that_differs_from_the_measured_one_is_not_bundled(project: Path) -> None:
    (Path("artifacts/matrix/m/fp32") / "matrix.npy").write_bytes(b"x")
    with pytest.raises(EdgeproofError, match="damaged"):
        write_bundle()
    assert not Path("out").exists()


def test_an_artifact_whose_runs_failed_is_not_bundled(project: Path) -> None:
    for path in RECORDS.rglob("accuracy.0/record.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "verdict": "error", "reasons": ["killed"]}))
    with pytest.raises(EdgeproofError, match="is error and has no quality: accuracy 0: killed"):
        write_bundle()


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN OPENSSH PRIVATE KEY-----\nx\n"])
def test_a_key_that_cannot_sign_is_refused_with_the_command_that_makes_one(
    project: Path, content: bytes | None
) -> None:
    Path("key").unlink()
    if content is not None:
        Path("key").write_bytes(content)
    with pytest.raises(ConfigError, match="ssh-keygen -t ed25519"):
        write_bundle("--key", "key")
    assert not Path("out").exists()


def test_a_name_in_a_manifest_never_controls_the_terminal(project: Path) -> None:
    place = write_bundle()
    content = json.loads((place / manifest.MANIFEST).read_text())
    content["files"]["\x1b[2J"] = "0" * 64
    (place / manifest.MANIFEST).write_text(json.dumps(content))
    done = run(place, "--check")
    assert done.returncode == 3
    assert "refused: \\u001b[2J is missing" in done.stderr
    (place / manifest.MANIFEST).write_text("[" * 100_000)
    assert run(place, "--check").stderr == "refused: MANIFEST.json is missing or damaged\n"


def test_a_task_of_own_data_is_described_by_the_bundle_and_needs_no_module(project: Path, plugin_root: Path) -> None:
    port = Port("image", tiny_task.INPUT_SHAPE)
    description = TaskDescription(
        name="tiny",
        kind="arrays",
        inputs=(DescribedInput(port, 3.0, 2.0),),
        outputs=(Port("logits", (3,)),),
        metrics=("accuracy",),
        classes=("a", "b", "c"),
    )
    artifact = project / "artifacts/matrix/m/fp32"
    write_json(artifact / described_tasks.FILE, description.to_json())
    write_meta(artifact, {"output_shape": [1, 3], "size_bytes": 10})
    sha256 = content_sha256(read_meta(artifact))
    for path in RECORDS.rglob("record.json"):
        content = json.loads(path.read_text())
        content["artifact"]["sha256"] = sha256
        path.write_text(json.dumps(content))
    (plugin_root / "tasks" / "tiny.py").unlink()
    inputs = np.random.default_rng(1).standard_normal((5, *tiny_task.INPUT_SHAPE)).astype(np.float32)
    np.save("inputs.npy", inputs)
    expected = ((inputs - 3) / 2).reshape(5, -1) @ tiny_task.matrix().T
    done = run(write_bundle(), "inputs.npy", "--out", "outputs.npy")
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load("outputs.npy"), expected, rtol=1e-4, atol=1e-5)
