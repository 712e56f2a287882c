"""Signed records: every changed byte is detected, OpenSSH accepts the format, and the key is never written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.cli import main
from edgeproof.core import signatures
from edgeproof.core.errors import ArtifactError, ConfigError
from edgeproof.core.signatures import BINDING, SIGNATURE, SUMS
from edgeproof.records import allowed_signers, record_files, session_migration, signature_checks, signing, store
from tests.support import record_trees
from tests.support.command_blocks import find_block

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
ROOT = Path("results/records")
SESSION = ROOT / "local_onnx"


def write_key(key: Ed25519PrivateKey, path: Path) -> Path:
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    )
    path.chmod(0o600)
    return path


def format_signer(key: Ed25519PrivateKey, options: str = "") -> str:
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return f"me@example.org {options}{public.decode()} a comment\n"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a project with two sessions of records, and a key outside of it."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv(signing.KEY_VARIABLE, raising=False)
    for device in ("local", "board"):
        record_trees.write(ROOT, device=device, call_ns=np.full(100, 5000))
        record_trees.write(ROOT, "accuracy", device=device, correct=[True] * 9 + [False])
        (ROOT / f"{device}_onnx" / "session_id").write_text(device)
    monkeypatch.setenv(signing.KEY_VARIABLE, str(write_key(KEY, tmp_path / "key")))
    return tmp_path


def verify_all(trusted: dict[bytes, str] | None = None) -> dict[str, str]:
    return {finding.session.name: finding.outcome for finding in signature_checks.verify_sessions([ROOT], trusted)}


def test_sessions_are_unsigned_before_signing_and_verified_after_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert verify_all() == {"board_onnx": "unsigned", "local_onnx": "unsigned"}
    assert main.run(["verify"]) == 0
    assert "4 record(s) in 2 session(s): 0 verified, 2 unsigned, 0 tampered with" in capsys.readouterr().out
    assert main.run(["verify", "--require-signatures"]) == 1
    assert "unsigned: results/records/local_onnx" in capsys.readouterr().out
    assert main.run(["sign"]) == 0
    assert main.run(["verify", "--require-signatures"]) == 0
    output = capsys.readouterr().out
    assert "2 verified, 0 unsigned, 0 tampered with" in output
    assert f"signed by {signatures.fingerprint(signing.get_public_key(KEY))}: 2" in output


def test_every_changed_file_is_named_as_tampered_with(capsys: pytest.CaptureFixture[str]) -> None:
    main.run(["sign"])
    names = [*signatures.list_signed_files(SESSION), SUMS, SIGNATURE]
    assert {"session_id"} | {Path(name).name for name in names} == {
        *("session_id", "session.json", "record.json", "latencies.npz", "evidence.npz", "mlperf_log_detail.txt"),
        *(SUMS, SIGNATURE),
    }
    for name in names:
        path = SESSION / name
        before = path.read_bytes()
        changed = bytearray(before)
        changed[len(changed) // 2] ^= 1
        for content in (bytes(changed), before[: len(before) // 2], before + b"x", None):
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content)
            capsys.readouterr()
            assert main.run(["verify"]) == 1, (name, content)
            output = capsys.readouterr().out
            assert "1 verified, 0 unsigned, 1 tampered with" in output
            assert name in output, (name, content)
        path.write_bytes(before)
    assert main.run(["verify"]) == 0


def test_a_file_added_to_a_signed_session_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    main.run(["sign"])
    (SESSION / "onnx" / "more.npz").write_bytes(b"")
    assert main.run(["verify"]) == 1
    assert "more.npz was added after the session was signed" in capsys.readouterr().out


def test_a_record_added_without_the_key_is_refused_by_verify_and_by_readers() -> None:
    main.run(["sign"])
    shutil.copytree(SESSION / "onnx/teacher.fp32", SESSION / "onnx/student.fp32")
    assert verify_all()["local_onnx"] == "tampered"
    damaged: list[str] = []
    assert len(list(record_files.read_all(ROOT, damaged=damaged))) == 4
    assert len(damaged) == 2
    assert all("student.fp32" in reason for reason in damaged)


def test_signatures_are_checked_from_any_working_directory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main.run(["sign"])
    path = SESSION / "onnx/teacher.fp32/accuracy.0/record.json"
    path.write_text(path.read_text().replace('"value": 0.9', '"value": 1.0'))
    for place in (ROOT.absolute(), SESSION.absolute(), path.parents[1].absolute()):
        assert main.run(["verify", str(place)]) == 1
        assert "was changed after it was signed" in capsys.readouterr().out
        damaged: list[str] = []
        monkeypatch.chdir(place)
        assert list(record_files.read_all(Path(), damaged=damaged))
        assert len(damaged) == 1


def test_verifying_a_directory_without_records_is_an_error(project: Path) -> None:
    (project / "empty").mkdir()
    with pytest.raises(ConfigError, match="there are no records below"):
        main.run(["verify", str(project / "empty")])
    with pytest.raises(ConfigError, match="is not a directory"):
        main.run(["verify", str(project / "nowhere")])


def test_a_signed_session_holds_only_under_its_own_name(capsys: pytest.CaptureFixture[str]) -> None:
    main.run(["sign"])
    shutil.rmtree(ROOT / "board_onnx")
    shutil.copytree(SESSION, ROOT / "board_onnx")  # over another session
    shutil.copytree(SESSION, ROOT / "copy")  # under another name
    assert verify_all() == {"board_onnx": "tampered", "copy": "tampered", "local_onnx": "tampered"}
    capsys.readouterr()
    assert main.run(["verify"]) == 1
    output = capsys.readouterr().out
    assert f"{ROOT / 'copy'} was signed under the name 'local_onnx'" in output
    assert "the session 'local_onnx today' is in 3 directories" in output
    assert main.run(["query", "SELECT count(*) AS n FROM records", "--format", "csv"]) == 1
    assert capsys.readouterr().out == "n\n0\n"
    for name in ("copy", "board_onnx"):
        shutil.rmtree(ROOT / name)
    assert main.run(["query", "SELECT count(*) AS n FROM records", "--format", "csv"]) == 0
    assert capsys.readouterr().out == "n\n2\n"
    SESSION.rename(ROOT / "renamed")
    assert verify_all() == {"renamed": "tampered"}


def test_signatures_of_older_versions_hold_without_the_sessions_name() -> None:
    main.run(["sign"])
    (SESSION / BINDING).unlink()
    message = signatures.format_sums(SESSION)
    (SESSION / SUMS).write_bytes(message)
    signature = signatures.armor(signing.get_public_key(KEY), KEY.sign(signatures.encode_signed_data(message)))
    (SESSION / SIGNATURE).write_text(signature)
    assert verify_all() == {"board_onnx": "verified", "local_onnx": "verified"}
    assert len(list(record_files.read_all(ROOT))) == 4


@pytest.mark.parametrize("command", [["query", "SELECT 1 FROM records"], ["report"], ["publish"], ["verify"]])
@pytest.mark.parametrize("attack", ["strip", "sign again"])
def test_every_reader_refuses_a_session_that_no_allowed_signer_signed(
    command: list[str], attack: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main.run(["sign"])
    allowed_signers.ALLOWED_SIGNERS.write_text(format_signer(KEY))
    assert main.run(command) == 0
    if attack == "strip":
        signing.remove_signature(SESSION)
    else:
        signing.sign_session(SESSION, OTHER)
    capsys.readouterr()
    assert main.run(command) == 1
    captured = capsys.readouterr()
    assert str(SESSION) in captured.out + captured.err
    assert ("unsigned" in captured.out) if command == ["verify"] and attack == "strip" else True
    with pytest.raises(ArtifactError, match="is not signed" if attack == "strip" else "not an allowed signer"):
        list(record_files.read_all(ROOT))


def test_comments_in_a_list_of_signers_may_be_indented(tmp_path: Path) -> None:
    path = tmp_path / "allowed_signers"
    path.write_text(f"# one\n  # two\n\t#three\n\n{format_signer(KEY)}")
    assert list(allowed_signers.read_allowed_signers(path)) == [signing.get_public_key(KEY)]


def test_an_unreadable_list_of_signers_stops_every_reader() -> None:
    allowed_signers.ALLOWED_SIGNERS.write_text("me\n")
    with pytest.raises(ConfigError, match="is not 'name ssh-ed25519 key'"):
        list(record_files.read_all(ROOT))


@pytest.mark.parametrize("kind", ["file", "directory", "pipe"])
def test_links_and_pipes_in_a_session_are_refused(kind: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main.run(["sign"])
    place = SESSION / "onnx/teacher.fp32/accuracy.0"
    if kind == "pipe":
        os.mkfifo(place / "pipe")
    elif kind == "file":
        (place / "evidence.npz").rename(project / "evidence.npz")
        (place / "evidence.npz").symlink_to(project / "evidence.npz")
    else:
        (SESSION / "more").symlink_to(project)
    capsys.readouterr()
    assert main.run(["verify"]) == 1
    assert "is not a regular file. Links, pipes and devices are refused" in capsys.readouterr().out
    with pytest.raises(ArtifactError, match="is not a regular file"):
        signing.sign_session(SESSION, KEY)


def test_signatures_swapped_between_sessions_are_refused() -> None:
    main.run(["sign"])
    one, two = (ROOT / name / SIGNATURE for name in ("local_onnx", "board_onnx"))
    a, b = one.read_bytes(), two.read_bytes()
    one.write_bytes(b)
    two.write_bytes(a)
    assert verify_all() == {"board_onnx": "tampered", "local_onnx": "tampered"}


def test_sums_and_signature_of_another_session_together_are_refused() -> None:
    main.run(["sign"])
    for name in (SUMS, SIGNATURE):
        shutil.copyfile(ROOT / "board_onnx" / name, SESSION / name)
    assert verify_all() == {"board_onnx": "verified", "local_onnx": "tampered"}


def test_a_session_signed_again_with_another_key_is_refused_by_allowed_signers(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main.run(["sign"])
    signing.sign_session(SESSION, OTHER)
    assert verify_all() == {
        "board_onnx": "verified",
        "local_onnx": "verified",
    }  # without allowed signers, every key is trusted
    (project / "allowed").write_text("# who may sign\n" + format_signer(KEY))
    capsys.readouterr()
    assert main.run(["verify", "--allowed-signers", str(project / "allowed")]) == 1
    output = capsys.readouterr().out
    assert f"signed by {signatures.fingerprint(signing.get_public_key(OTHER))}, who is not an allowed signer" in output
    assert "signed by me@example.org: 1" in output


def test_a_removed_signature_is_an_error_if_the_project_has_allowed_signers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main.run(["sign"])
    allowed_signers.ALLOWED_SIGNERS.write_text(format_signer(KEY))
    assert main.run(["verify"]) == 0
    signing.remove_signature(SESSION)
    capsys.readouterr()
    assert main.run(["verify"]) == 1
    assert "unsigned: results/records/local_onnx" in capsys.readouterr().out


def test_an_unsigned_record_with_a_damaged_array_counts_as_tampered_with(capsys: pytest.CaptureFixture[str]) -> None:
    (SESSION / "onnx/teacher.fp32/single_stream.0/latencies.npz").write_bytes(b"nothing")
    assert main.run(["verify"]) == 1
    output = capsys.readouterr().out
    assert "latencies.npz is missing or damaged" in output
    assert "1 unsigned, 1 tampered with" in output
    assert main.run(["sign"]) == 1
    assert not (ROOT / "board_onnx" / SIGNATURE).exists()


def test_reports_name_and_skip_a_tampered_record(capsys: pytest.CaptureFixture[str]) -> None:
    main.run(["sign"])
    assert store.refresh(ROOT).damaged == []
    path = SESSION / "onnx/teacher.fp32/accuracy.0/record.json"
    path.write_text(path.read_text().replace('"value": 0.9', '"value": 1.0'))
    capsys.readouterr()
    assert main.run(["report", "--columns", "quality"]) == 1
    assert f"{path} was changed after it was signed" in capsys.readouterr().err
    # If the sums are adapted too, the signature no longer matches them.
    (SESSION / SUMS).write_bytes(signatures.format_sums(SESSION))
    assert main.run(["report", "--columns", "quality"]) == 1
    captured = capsys.readouterr()
    assert f"{path} can't be trusted" in captured.err
    assert "SHA256SUMS.sig does not match it" in captured.err
    assert "local" not in captured.out.partition("\n\n")[2]


def test_migrating_renews_the_signature(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    for path in sorted(SESSION.rglob("record.json")):
        path.write_text(path.read_text().replace('"schema": 3', '"schema": 1'))
    main.run(["sign"])
    assert dict(session_migration.migrate_sessions(ROOT, [])) == {"local_onnx": 2}
    assert verify_all() == {"board_onnx": "verified", "local_onnx": "verified"}


def test_signing_is_deterministic_and_the_command_keeps_existing_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    signing.sign_session(SESSION, KEY)
    before = (SESSION / SIGNATURE).read_bytes()
    signing.sign_session(SESSION, KEY)
    assert (SESSION / SIGNATURE).read_bytes() == before
    signing.sign_session(SESSION, OTHER)
    main.run(["sign"])
    signature = signatures.verify_session(SESSION)
    assert signature is not None
    assert signature.public_key == signing.get_public_key(OTHER)


# --- keys ----------------------------------------------------------------------------------------------------------


def test_a_key_in_the_users_configuration_is_used_and_a_key_in_the_project_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(signing.KEY_VARIABLE)
    assert signing.load_configured_key() is None
    with pytest.raises(ConfigError, match=r"no signing key\. Set EDGEPROOF_SIGNING_KEY"):
        main.run(["sign"])
    (project / "config/edgeproof").mkdir(parents=True)
    write_key(KEY, project / "config" / signing.DEFAULT_KEY)
    key = signing.load_configured_key()
    assert key is not None
    assert signing.get_public_key(key) == signing.get_public_key(KEY)
    monkeypatch.setenv(signing.KEY_VARIABLE, str(write_key(KEY, Path("inside"))))
    with pytest.raises(ConfigError, match="lies in the project"):
        signing.load_configured_key()


def test_a_missing_key_file_is_an_error_with_the_command_that_makes_one(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(signing.KEY_VARIABLE, str(project / "missing"))
    with pytest.raises(ConfigError, match=r"missing can't sign: .* Make a key with 'ssh-keygen"):
        signing.load_configured_key()


def test_no_written_file_contains_the_key_or_its_path(project: Path) -> None:
    main.run(["sign"])
    secret = write_key(KEY, project / "key").read_bytes().splitlines()[2]
    for path in (path for path in Path().rglob("*") if path.is_file()):
        assert secret not in path.read_bytes()
        assert str(project / "key").encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "contains no Ed25519 key"),
        ("me\n", "is not 'name ssh-ed25519 key'"),
        ("me ssh-ed25519 AAAA\n", "contains no valid Ed25519 key"),
        (format_signer(KEY, 'valid-before="20300101" '), "option 'valid-before' is not supported"),
        (format_signer(KEY, 'namespaces="git" '), "contains no Ed25519 key"),
    ],
)
def test_an_invalid_file_of_allowed_signers_is_refused(text: str, message: str) -> None:
    Path("allowed").write_text(text)
    with pytest.raises(ConfigError, match=message):
        allowed_signers.read_allowed_signers(Path("allowed"))


def test_allowed_signers_may_be_limited_to_namespaces() -> None:
    Path("allowed").write_text(
        format_signer(KEY, 'namespaces="git,edgeproof" ') + format_signer(OTHER, 'namespaces="file" ')
    )
    assert allowed_signers.read_allowed_signers(Path("allowed")) == {signing.get_public_key(KEY): "me@example.org"}


# --- the format ----------------------------------------------------------------------------------------------------


@pytest.fixture
def keygen() -> str:
    path = shutil.which("ssh-keygen")
    if path is None:
        pytest.skip("ssh-keygen is not installed")
    return path


def test_openssh_verifies_our_signature_and_sha256sum_our_sums(project: Path, keygen: str) -> None:
    main.run(["sign"])
    Path("allowed").write_text(format_signer(KEY))
    argv = [keygen, "-Y", "verify", "-f", "allowed", "-I", "me@example.org", "-n", "edgeproof"]
    argv += ["-s", str(SESSION / SIGNATURE)]
    assert subprocess.run(argv, input=(SESSION / SUMS).read_bytes(), capture_output=True).returncode == 0
    assert subprocess.run(argv, input=(SESSION / SUMS).read_bytes() + b"x", capture_output=True).returncode != 0
    assert subprocess.run(["sha256sum", "--quiet", "-c", SUMS], cwd=SESSION).returncode == 0


@pytest.mark.usefixtures("keygen")
def test_the_commands_in_docs_publishing_md_sign_and_verify(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(project))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.delenv(signing.KEY_VARIABLE)
    done = subprocess.run(["bash", "-euc", find_block("publishing.md", "edgeproof sign").text], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"2 verified, 0 unsigned, 0 tampered with" in done.stdout
    public = (project / ".config/edgeproof/signing_key.pub").read_text()
    (SESSION / "allowed_signers").write_text(f"you@example.org {public}")
    with_openssh = ["bash", "-euc", find_block("publishing.md", "ssh-keygen -Y verify").text]
    assert b"Good" in subprocess.run(with_openssh, cwd=SESSION, capture_output=True, check=True).stdout
    (SESSION / "session_id").write_text("changed")
    assert subprocess.run(with_openssh, cwd=SESSION, capture_output=True).returncode != 0


@pytest.mark.parametrize("options", [[], ["-O", "hashalg=sha256"]])
def test_a_signature_by_openssh_is_verified(project: Path, keygen: str, options: list[str]) -> None:
    main.run(["sign"])
    (SESSION / SIGNATURE).unlink()
    subprocess.run(
        [keygen, "-q", "-Y", "sign", "-f", project / "key", "-n", "edgeproof", *options, SESSION / SUMS], check=True
    )
    assert verify_all()["local_onnx"] == "verified"


@pytest.mark.parametrize("kind", ["another purpose", "another kind of key"])
def test_a_signature_of_openssh_for_another_purpose_or_by_another_kind_of_key_is_refused(
    project: Path, keygen: str, kind: str
) -> None:
    main.run(["sign"])
    (SESSION / SIGNATURE).unlink()
    key, space = project / "key", "git" if kind == "another purpose" else "edgeproof"
    if kind == "another kind of key":
        key = project / "ecdsa"
        subprocess.run([keygen, "-q", "-t", "ecdsa", "-N", "", "-f", key], check=True)
    subprocess.run([keygen, "-q", "-Y", "sign", "-f", key, "-n", space, SESSION / SUMS], check=True)
    with pytest.raises(ArtifactError, match=kind):
        signatures.verify_session(SESSION)


@given(st.binary(max_size=200), st.integers(0, 3000))
def test_a_signature_with_a_flipped_bit_is_invalid(message: bytes, bit: int) -> None:
    armored = signatures.armor(signing.get_public_key(KEY), KEY.sign(signatures.encode_signed_data(message)))
    assert signatures.verify(armored, message) == (signing.get_public_key(KEY), True)
    flipped = bytearray(armored.encode())
    flipped[bit // 8 % len(flipped)] ^= 1 << bit % 8
    try:
        key, is_valid = signatures.verify(flipped.decode("ascii"), message)
    except ValueError:
        return
    # A flipped bit in a line break may leave the same text. Any other text must be invalid.
    assert not is_valid or (key == signing.get_public_key(KEY) and flipped.decode().split() == armored.split())


@given(st.text(max_size=300))
def test_text_that_is_not_a_signature_raises_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        signatures.verify(text, b"message")
