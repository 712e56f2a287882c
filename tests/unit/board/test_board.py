"""Tests of the emulated board without running it: steps, archives, command lines, keys and refused arguments."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.board import __main__ as board
from edgeproof.board import debian, disk, machine, programs, python, steps, wheels
from edgeproof.board.machine import MachineConfig
from edgeproof.core.errors import ConfigError, EdgeproofError
from edgeproof.study import worktrees
from tests.support.damaged_json import HUGE
from tests.support.project import ROOT

NEEDS_SSH = pytest.mark.skipif(shutil.which("ssh") is None, reason="OpenSSH's client is not installed")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    steps.BOARD.mkdir(parents=True)
    return tmp_path


# --- steps ---------------------------------------------------------------------------------------------------------


def test_a_finished_step_is_repeated_only_for_another_key(project: Path) -> None:
    fills: list[str] = []

    def fill(out: Path) -> None:
        fills.append(out.name)
        (out / "file").write_text(str(len(fills)))

    place = steps.build_step("part", {"version": "1"}, fill, "making it")
    assert steps.build_step("part", {"version": "1"}, fill, "making it") == place
    assert len(fills) == 1
    before = steps.hash_step(place)
    steps.build_step("part", {"version": "2"}, fill, "making it")
    assert (place / "file").read_text() == "2"
    assert steps.hash_step(place) != before


def test_a_failed_step_leaves_the_old_directory_and_is_repeated(project: Path) -> None:
    def fail(out: Path) -> None:
        (out / "half").write_text("")
        raise EdgeproofError("the network is gone")

    steps.build_step("part", {"version": 1}, lambda out: (out / "file").write_text("old") and None, "")
    with pytest.raises(EdgeproofError, match="the network is gone"):
        steps.build_step("part", {"version": 2}, fail, "")
    assert (steps.BOARD / "part/file").read_text() == "old"
    assert not (steps.BOARD / "part/half").exists()
    steps.build_step("part", {"version": 2}, lambda out: (out / "file").write_text("new") and None, "")
    assert (steps.BOARD / "part/file").read_text() == "new"


def test_a_program_that_fails_hangs_or_is_missing_is_reported_with_its_last_lines(project: Path) -> None:
    with pytest.raises(EdgeproofError, match=r"sh failed: one \| two"):
        programs.run_program(["sh", "-c", "echo one; echo two >&2; exit 3"])
    with pytest.raises(EdgeproofError, match="did not finish within 0 s"):
        programs.run_program(["sleep", "60"], timeout_s=0.2)
    with pytest.raises(EdgeproofError, match="apt-get-nowhere is not on this machine"):
        programs.run_program(["apt-get-nowhere"])


def test_without_apt_or_ssh_the_error_says_what_to_install(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "ROOT_PATHS", ())
    monkeypatch.setenv("PATH", str(project))
    with pytest.raises(
        ConfigError, match=r"apt-get is not on this machine\. The board is built from Debian's packages"
    ):
        debian.fetch_tools(None)
    for program in ("apt-get", "dpkg-deb"):
        (project / program).write_text("#!/bin/sh\n")
        (project / program).chmod(0o755)
    with pytest.raises(
        ConfigError, match=r"ssh is not on this machine\. Install it with 'apt-get install openssh-client'"
    ):
        debian.fetch_tools(None)


def test_apt_has_a_private_state_checks_signatures_and_installs_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = project / "seen"
    (project / "bin").mkdir()
    (project / "bin/apt-get").write_text(f'#!/bin/sh\nfor word in "$@"; do echo "$word"; done >> {seen}\n')
    (project / "bin/apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{project / 'bin'}:{os.environ['PATH']}")
    system = debian.fetch_system(None)
    assert (system / debian.PACKAGE_LIST).read_text() == "[]\n"
    words = seen.read_text().splitlines()
    assert {"update", "--download-only", "-oAPT::Architecture=arm64"} <= set(words)
    assert not any("llow" in word and "nauth" in word for word in words)  # AllowUnauthenticated, by any spelling
    places = [word.partition("=")[2] for word in words if word.startswith(("-oDir::State", "-oDir::Cache"))]
    assert len(places) == 8
    assert all(Path(place).is_relative_to(project) for place in places)
    assert not list(steps.BOARD.glob("apt-*"))


# --- the disk ------------------------------------------------------------------------------------------------------


@given(
    st.dictionaries(st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,2}", fullmatch=True), st.binary(max_size=50), max_size=5)
)
def test_the_initramfs_is_a_padded_archive_with_the_same_bytes_every_time(files: dict[str, bytes]) -> None:
    contents = {name: (0o644, content) for name, content in files.items()}
    archive = disk.make_cpio_archive(contents)
    assert archive == disk.make_cpio_archive(dict(reversed(contents.items())))
    assert len(archive) % 4 == 0
    assert {name: content for name, mode, content in read_entries(archive) if mode & 0o100000} == files
    directories = {name for name, mode, _ in read_entries(archive) if mode & 0o040000}
    assert {parent.as_posix() for name in files for parent in Path(name).parents} - {"."} == directories


def read_entries(archive: bytes) -> list[tuple[str, int, bytes]]:
    """Read a 'newc' archive by its specification (the kernel's Documentation/driver-api/early-userspace)."""
    stream, entries = io.BytesIO(archive), []
    while True:
        magic, head = stream.read(6), stream.read(104)
        assert magic == b"070701"
        fields = [int(head[start : start + 8], 16) for start in range(0, 104, 8)]
        name = stream.read(fields[11]).rstrip(b"\0").decode()
        stream.seek(-stream.tell() % 4, io.SEEK_CUR)
        content = stream.read(fields[6])
        stream.seek(-stream.tell() % 4, io.SEEK_CUR)
        if name == "TRAILER!!!":
            return entries
        entries.append((name, fields[1], content))


def test_the_board_allows_neither_passwords_nor_forwarding() -> None:
    lines = disk.CONFIGURATION_FILES["etc/ssh/sshd_config"].splitlines()
    for line in ("PasswordAuthentication no", "KbdInteractiveAuthentication no", "AllowTcpForwarding no"):
        assert line in lines
    assert disk.CONFIGURATION_FILES["etc/shadow"].startswith("root:*:")


# --- the machine ---------------------------------------------------------------------------------------------------


def test_the_board_is_reached_through_loopback_only_and_reaches_no_network() -> None:
    argv = machine.make_qemu_command("qemu", MachineConfig(1024, 22022), Path("a,b/disk"))
    assert argv[argv.index("-m") + 1] == "1024M"
    assert argv[argv.index("-cpu") + 1] == "cortex-a53"
    network = argv[argv.index("-netdev") + 1]
    assert "restrict=on" in network.split(",")
    assert "hostfwd=tcp:127.0.0.1:22022-:22" in network.split(",")
    drive = argv[argv.index("-drive") + 1]
    assert drive.endswith("/a,,b/disk/disk.img")


@NEEDS_SSH
def test_the_ssh_configuration_has_the_board_and_checks_its_host_key(project: Path) -> None:
    path = project / "ssh_config"
    path.write_text(machine.format_ssh_config(22022, project / "a key %h", project / "known hosts"))
    process = subprocess.run(["ssh", "-F", path, "-G", machine.SSH_ALIAS], capture_output=True, text=True, check=True)
    settings = dict(line.split(" ", 1) for line in process.stdout.splitlines() if " " in line)
    assert (settings["hostname"], settings["port"], settings["user"]) == ("127.0.0.1", "22022", "root")
    assert (settings["stricthostkeychecking"], settings["identitiesonly"]) == ("true", "yes")
    assert (settings["hostkeyalias"], settings["globalknownhostsfile"]) == (machine.SSH_ALIAS, "none")
    assert "known hosts" in settings["userknownhostsfile"]
    assert settings["identityfile"].replace("%%", "%") == str(project / "a key %h")


def test_another_process_with_the_boards_process_id_is_not_the_board(project: Path) -> None:
    assert machine.find_running() is None
    assert not machine.stop()
    (steps.BOARD / machine.PID_FILE).write_text(f"{os.getpid()}\n")
    (steps.BOARD / machine.CONFIG_FILE).write_text('{"memory_mib": 1024, "port": 22022, "disk": ""}')
    assert machine.find_running() is None
    assert not machine.stop()


def test_a_running_board_is_found_by_its_command_line_and_stopped(project: Path) -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)", str((steps.BOARD / machine.PID_FILE).resolve())]
    with subprocess.Popen(sleeper) as process:
        (steps.BOARD / machine.PID_FILE).write_text(f"{process.pid}\n")
        (steps.BOARD / machine.CONFIG_FILE).write_text('{"memory_mib": 1024, "port": 22022, "disk": "d"}')
        while machine.find_running() is None:  # between fork and exec it has another command line
            pass
        assert machine.find_running() == MachineConfig(1024, 22022, "d")
        machine.SHUTDOWN_TIMEOUT_S, before = 1.0, machine.SHUTDOWN_TIMEOUT_S
        try:
            assert machine.stop()
        finally:
            machine.SHUTDOWN_TIMEOUT_S = before
        assert process.wait() != 0
    assert machine.find_running() is None


@NEEDS_SSH
def test_a_board_that_ends_at_once_is_reported_with_the_end_of_its_console(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (steps.BOARD / machine.CONSOLE_FILE).write_text("Kernel panic - not syncing\n")
    with pytest.raises(EdgeproofError, match=r"the board has ended .*Kernel panic.*BOARD_PORT=22023"):
        machine._wait_for_ssh()


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["up", "--memory-mib", "10"], "--memory-mib must be 256 to"),
        (["up", "--port", "22"], "--port must be 1024 to 65535"),
        (["up", "--runtimes", "mnn", "nn"], "--runtimes: nn is no runtime that is an extra: coreml, executorch, mnn"),
        (["up", "--sources", "nowhere.list"], "nowhere.list does not exist"),
    ],
)
def test_invalid_arguments_are_refused(project: Path, argv: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        board.main(argv)


def test_the_card_of_another_device_is_not_overwritten(project: Path) -> None:
    (project / "devices").mkdir()
    (project / "devices/board.yaml").write_text("transport: ssh\nhost: kitchen\nthreads: 1\n")
    with pytest.raises(ConfigError, match=r"devices/board\.yaml is the card of another device"):
        board.main(["up"])


def test_a_full_disk_is_refused_before_anything_is_fetched(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage: Any = shutil.disk_usage(project)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type(usage)(usage.total, usage.used, 10**9))
    with pytest.raises(ConfigError, match=r"the board needs 4 GB below .*board, but only 1.0 GB are free"):
        board.main(["up"])


def test_a_board_that_does_not_run_says_how_to_start_it(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert board.main(["status"]) == 1
    assert "Start it with 'make board'" in capsys.readouterr().out
    assert board.main(["down"]) == 0


def test_the_boards_packages_have_the_locked_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    packages = python.list_packages()
    assert set(packages) == {"numpy", "ai-edge-litert", "onnxruntime", "openvino"}
    lock = (ROOT / "requirements.lock").read_text()
    assert all(f"{name}=={version}" in lock for name, version in packages.items())
    assert set(python.list_packages(["mnn", "ncnn"])) - set(packages) == {"mnn", "ncnn"}


def test_the_worktree_of_another_study_has_the_boards_ssh_configuration(project: Path) -> None:
    def git(*words: str) -> None:
        author = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *author, *words], check=True, capture_output=True)

    git("init", "-q")
    (project / ".gitignore").write_text(".edgeproof/\n")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    machine.SSH_CONFIG.parent.mkdir(parents=True)
    machine.SSH_CONFIG.write_text("Host board\n")
    worktrees.refresh(Path(".edgeproof/studies/other"))
    assert (project / ".edgeproof/studies/other" / machine.SSH_CONFIG).read_text() == "Host board\n"


@pytest.mark.parametrize("content", [*HUGE, b"", b"[]", b'{"memory_mib": "2048"}', b'{"port": null}', b"\xff"])
def test_damaged_settings_of_a_running_board_are_no_settings(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "BOARD", tmp_path)
    monkeypatch.setattr(machine, "_find_pid", lambda: 1)
    (tmp_path / machine.CONFIG_FILE).write_bytes(content)
    assert machine.find_running() == machine.MachineConfig(0, 0)
    monkeypatch.undo()
    (tmp_path / steps.STEP_FILE).write_bytes(content)
    assert steps._read_step_file(tmp_path) != {"key": {}, "code": ""}


# --- packages of the board -----------------------------------------------------------------------------------------


class FakePip:
    """Installs packages as pip does with --no-deps: a dist-info directory each, with the requirements given here.

    Each package also has a file in the directory `together`. Like pip, every call replaces such a directory.
    """

    def __init__(self, requirements: dict[str, list[str]]) -> None:
        self.requirements = requirements
        self.calls: list[list[str]] = []

    def __call__(self, *words: Any) -> None:
        out = Path(words[words.index("--target") + 1])
        last_option = max(index for index, word in enumerate(words) if word == "--platform")
        wanted = list(words[last_option + 2 :])
        self.calls.append(wanted)
        shutil.rmtree(out / "together", ignore_errors=True)
        for word in wanted:
            name = re.split("[=<>]", word)[0]
            (out / "together").mkdir(parents=True, exist_ok=True)
            (out / "together" / f"{name}.so").write_bytes(b"")
            info = out / f"{name}-1.0.dist-info"
            info.mkdir(parents=True)
            lines = [f"Name: {name}", "Version: 1.0", *(f"Requires-Dist: {text}" for text in self.requirements[name])]
            (info / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")


def install(
    out: Path, monkeypatch: pytest.MonkeyPatch, requirements: dict[str, list[str]], *, allow_cuda: bool = False
) -> FakePip:
    pip = FakePip(requirements)
    monkeypatch.setattr(wheels, "run_pip", pip)
    wheels.install_packages(out, {"engine": "1.0"}, {"engine": "1.0"}, allow_cuda=allow_cuda)
    return pip


def test_requirements_are_those_of_the_board_and_not_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = install(
        tmp_path / "site",
        monkeypatch,
        {
            "engine": [
                'for-desks; platform_machine == "x86_64"',
                'for-boards>=1; platform_machine == "aarch64" and python_version < "3.12"',
                'for-windows; sys_platform == "win32"',
                'for-developers; extra == "tests"',
                "shared<2",
            ],
            "for-boards": ["shared", "engine"],
            "shared": ["engine"],
        },
    )
    assert [sorted(call) for call in pip.calls] == [["engine==1.0"], ["for-boards>=1", "shared<2"]]


def test_extras_of_a_requirement_bring_what_they_need_and_no_other_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = install(
        tmp_path / "site",
        monkeypatch,
        {
            # 'adds-late' asks for an extra of 'toolkit' when that is already installed.
            "engine": ["toolkit[math]", "adds-late"],
            "toolkit": ['algebra; extra == "math"', 'pictures; extra == "images"', 'sounds; extra == "audio"'],
            "adds-late": ["toolkit[images]"],
            **{name: [] for name in ("algebra", "pictures")},
        },
    )
    assert [sorted(call) for call in pip.calls] == [["engine==1.0"], ["adds-late", "toolkit"], ["algebra", "pictures"]]


def test_a_build_for_gpus_is_refused_with_the_index_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EdgeproofError, match=r"engine 1\.0 is a build for NVIDIA's GPUs: .*Set TORCH_INDEX"):
        install(tmp_path / "site", monkeypatch, {"engine": ["nvidia-nccl"]})


def test_a_build_for_gpus_is_installed_if_cuda_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = install(tmp_path / "site", monkeypatch, {"engine": ["nvidia-nccl"], "nvidia-nccl": []}, allow_cuda=True)
    assert pip.calls == [["engine==1.0"], ["nvidia-nccl"]]


def test_a_directory_that_packages_share_keeps_the_files_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", monkeypatch, {"engine": ["cudnn"], "cudnn": ["cublas"], "cublas": []})
    files = {path.name for path in (tmp_path / "site" / "together").iterdir()}
    assert files == {"engine.so", "cudnn.so", "cublas.so"}


def test_a_package_that_pip_left_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "run_pip", lambda *_: None)
    with pytest.raises(EdgeproofError, match="pip did not install engine for the board"):
        wheels.install_packages(tmp_path, {"engine": "1.0"}, {})
