"""The board's disk: a kernel, a small initramfs with drivers, an ext4 file system, and ssh keys of its own."""

from __future__ import annotations

import compileall
import py_compile
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from edgeproof.board.programs import find_program, make_library_environment, run_program
from edgeproof.board.steps import build_step, hash_step
from edgeproof.board.wheels import PYTHON_VERSION
from edgeproof.core.errors import EdgeproofError

KERNEL = "kernel"
INITRAMFS = "initramfs"
IMAGE = "disk.img"
USER_KEY = "user_key"
HOST_KEY = "host_key"
FREE_BYTES = 2 * 2**30
# In the order in which they are loaded. Drivers that are built into the kernel have no file.
DRIVERS = (
    *("virtio/virtio_ring.ko", "virtio/virtio.ko", "virtio/virtio_mmio.ko", "block/virtio_blk.ko"),
    *("../net/core/failover.ko", "net/net_failover.ko", "net/virtio_net.ko"),
)
# The board never reads these, and copying them would take most of the time.
EXCLUDED_PATTERNS = ("doc", "man", "locale", "info", "lintian", "perl", "include", "modules", "*.a", "boot", "i18n")
GUEST_ADDRESS = "10.0.2.15"  # QEMU's user network gives its guest this address
MODULES_DIRECTORY = f"usr/local/lib/python{PYTHON_VERSION}/dist-packages"

CONFIGURATION_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/shadow": "root:*:19000::::::\nsshd:*:19000::::::\n",
    "etc/hostname": "board\n",
    "etc/hosts": "127.0.0.1 localhost board\n",
    "etc/ssh/sshd_config": """\
HostKey /etc/ssh/host_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
AllowTcpForwarding no
AllowAgentForwarding no
X11Forwarding no
UseDNS no
PrintMotd no
# Files belong to whoever built the disk.
StrictModes no
""",
    "etc/inittab": """\
::sysinit:/etc/board.start
::respawn:/usr/sbin/sshd -D -e
::shutdown:/bin/umount -a -r
""",
    "etc/board.start": f"""\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs run /run
mkdir -p -m 755 /run/sshd
hostname board
hwclock -s -u
ifconfig lo 127.0.0.1 up
ifconfig eth0 {GUEST_ADDRESS} up
echo "board: started"
""",
}
INIT_SCRIPT = """\
#!/bin/busybox sh
/bin/busybox mkdir -p /dev /proc /root
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
for driver in {drivers}; do /bin/busybox insmod /drivers/$driver; done
n=0
until [ -b /dev/vda ] || [ $n -ge 100 ]; do /bin/busybox sleep 0.1; n=$((n+1)); done
/bin/busybox mount -t ext4 /dev/vda /root || echo "board: its disk can't be mounted"
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /sbin/init
"""


def build_disk(system: Path, site: Path, tools: Path) -> Path:
    """Return the directory with kernel, initramfs, disk image and keys."""
    return build_step(
        "disk",
        {"system": hash_step(system), "site": hash_step(site)},
        lambda out: _fill(out, system, site, tools),
        "building the board's disk (a minute)",
    )


def _fill(out: Path, system: Path, site: Path, tools: Path) -> None:
    for name in (USER_KEY, HOST_KEY):
        run_program(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "edgeproof board", "-f", out / name])
    root = out / "root"
    left_out = shutil.ignore_patterns(*EXCLUDED_PATTERNS)
    shutil.copytree(system, root, symlinks=True, ignore=left_out, copy_function=_copy_writable)
    shutil.copytree(site, root / MODULES_DIRECTORY, symlinks=True, dirs_exist_ok=True, copy_function=_copy_writable)
    _configure(root, out)
    (modules,) = (system / "lib/modules").iterdir()
    shutil.copyfile(next((system / "boot").glob("vmlinuz-*")), out / KERNEL)
    (out / INITRAMFS).write_bytes(
        make_cpio_archive(_list_initramfs_files(system / "bin/busybox", modules / "kernel/drivers"))
    )
    _compile_modules(root)
    _write_image(root, out / IMAGE, tools)
    shutil.rmtree(root)
    (out / HOST_KEY).unlink()


def _copy_writable(source: str, target: str) -> None:
    """Copy a file and make it writable for its owner, whatever its package says."""
    shutil.copy2(source, target)
    path = Path(target)
    path.chmod(path.stat().st_mode | 0o200)


def _configure(root: Path, keys: Path) -> None:
    for name, text in CONFIGURATION_FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (root / "etc/board.start").chmod(0o755)
    for name in ("dev", "proc", "sys", "run", "tmp", "root/.ssh"):
        (root / name).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(keys / f"{USER_KEY}.pub", root / "root/.ssh/authorized_keys")
    shutil.copyfile(keys / HOST_KEY, root / "etc/ssh/host_key")
    (root / "etc/ssh/host_key").chmod(0o600)
    (root / "root").chmod(0o700)
    for link, target in (
        ("usr/bin/python3", f"python{PYTHON_VERSION}"),
        *((f"sbin/{name}", "/bin/busybox") for name in ("init", "hwclock", "ifconfig", "poweroff")),
        *((f"bin/{name}", "/bin/busybox") for name in ("mount", "umount", "hostname")),
    ):
        path = root / link
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)


def _compile_modules(root: Path) -> None:
    """Compile the board's modules here. The runner writes no bytecode, so every import would compile them again."""
    if sys.version_info[:2] != (3, 11):
        raise EdgeproofError(
            f"building the board needs Python {PYTHON_VERSION}, which compiles its modules "
            f"(this is {sys.version.split()[0]})."
        )
    for directory in (root / f"usr/lib/python{PYTHON_VERSION}", root / MODULES_DIRECTORY):
        compileall.compile_dir(
            directory, quiet=2, force=True, stripdir=str(root), prependdir="/",
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )  # fmt: skip


def _write_image(root: Path, image: Path, tools: Path) -> None:
    mke2fs = find_program("mke2fs", tools)
    if mke2fs is None:
        raise EdgeproofError("mke2fs is not on this machine. Install it with 'apt-get install e2fsprogs'.")
    size = sum(path.lstat().st_size + 4096 for path in root.rglob("*")) * 5 // 4 + FREE_BYTES
    with image.open("wb") as file:
        file.truncate(-(-size // 2**20) * 2**20)
    environment = make_library_environment(mke2fs, tools)
    run_program(
        [mke2fs, "-q", "-F", "-t", "ext4", "-m", "0", "-d", root, "-E", "root_owner=0:0", image],
        environment=environment,
    )


def _list_initramfs_files(busybox: Path, drivers: Path) -> dict[str, tuple[int, bytes]]:
    """Return the files of the initramfs, by name their mode and content. They only mount the disk."""
    paths = {driver.rpartition("/")[2]: path for driver in DRIVERS if (path := drivers / driver).is_file()}
    files: dict[str, tuple[int, bytes]] = {
        "bin/busybox": (0o755, busybox.read_bytes()),
        "init": (0o755, INIT_SCRIPT.format(drivers=" ".join(paths)).encode()),
    }
    return files | {f"drivers/{name}": (0o644, path.read_bytes()) for name, path in paths.items()}


def make_cpio_archive(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """Return a cpio archive in the kernel's format 'newc'. `files` maps names to mode and content."""
    directories = sorted({parent.as_posix() for name in files for parent in Path(name).parents} - {"."})
    entries = [(name, 0o040755, b"") for name in directories]
    entries += [(name, 0o100000 | mode, content) for name, (mode, content) in sorted(files.items())]
    return b"".join(_encode_entries([*entries, ("TRAILER!!!", 0, b"")]))


def _encode_entries(entries: Iterable[tuple[str, int, bytes]]) -> Iterable[bytes]:
    for number, (name, mode, content) in enumerate(entries, 1):
        stored = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(stored), 0)
        yield _pad(b"070701" + b"".join(b"%08X" % field for field in fields) + stored)
        yield _pad(content)


def _pad(content: bytes) -> bytes:
    return content + bytes(-len(content) % 4)
