"""Build the container image of a bundle for a board, and save it as one file.

Docker, Podman or Buildah builds the bundle's own Dockerfile, which verifies the bundle first. edgeproof writes no image
itself: its layers would hold the packages of another architecture, which only these programs fetch and check.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgeproof.core import partial_paths
from edgeproof.core.errors import EdgeproofError
from edgeproof.provenance.stored import SHA256_DIGITS

# The file descriptor: standard output is for the results of edgeproof.
STANDARD_ERROR = 2


@dataclass(frozen=True)
class Builder:
    """A program that builds images, and its command that saves one; {tag} and {path} are replaced."""

    name: str
    save: tuple[str, ...]


# Those that need no daemon first. All three save an image that any of them, and Docker 25 or newer, can load.
BUILDERS = (
    Builder("buildah", ("push", "{tag}", "oci-archive:{path}")),
    Builder("podman", ("save", "--format", "oci-archive", "--output", "{path}", "{tag}")),
    Builder("docker", ("save", "--output", "{path}", "{tag}")),
)


def find_builder() -> Builder:
    """Return the first builder that is installed. Raises EdgeproofError if there is none."""
    for builder in BUILDERS:
        if shutil.which(builder.name) is not None:
            return builder
    names = ", ".join(builder.name for builder in BUILDERS)
    raise EdgeproofError(
        f"an image needs one of {names}, and none is installed. Install one, or leave --container out: the bundle "
        "has a Dockerfile, so any machine with one of them builds it later: docker build DIRECTORY"
    )


def build_image(bundle: Path, builder: Builder, *, platform: str | None) -> Path:
    """Build the image of a bundle and save it beside the bundle's tar file. Return its path.

    `platform` is that of the board, such as linux/arm64; None for that of this machine. Raises EdgeproofError if the
    builder fails. The bundle stays as it is.
    """
    sha256 = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))["artifact_sha256"]
    tag = f"edgeproof-bundle:{sha256[:SHA256_DIGITS]}"
    chosen = [] if platform is None else ["--platform", platform]
    _run([builder.name, "build", *chosen, "--tag", tag, str(bundle)], bundle)
    path = bundle.with_name(f"{bundle.name}.image.tar")
    partial = partial_paths.name_partial(path)
    try:
        _run([builder.name, *(word.format(tag=tag, path=partial) for word in builder.save)], bundle)
        partial.replace(path)
    except OSError as error:
        raise EdgeproofError(f"could not write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return path


def _run(argv: list[str], bundle: Path) -> None:
    """Run a builder, whose messages go to standard error. Raises EdgeproofError if it fails."""
    try:
        code = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=STANDARD_ERROR, check=False).returncode
    except OSError as error:
        raise EdgeproofError(f"{argv[0]} can't be started: {error.strerror or error}") from error
    if code != 0:
        raise EdgeproofError(
            f"'{argv[0]} {argv[1]}' failed with exit code {code}; its own messages are above. The bundle {bundle} is "
            f"complete. When {argv[0]} works, run the same command again, or build the image elsewhere from the bundle."
        )
