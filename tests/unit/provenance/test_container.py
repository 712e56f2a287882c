"""Container images of bundles: built by a program that is installed, with a clear message if none is or one fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeproof.cli import main
from edgeproof.core.errors import EdgeproofError
from edgeproof.provenance import container
from tests.support import bundle_project

# Writes its arguments to a log. Its command that saves an image writes one.
BUILDER = """#!/bin/sh
echo "$(basename "$0") $*" >> {log}
test "$1" = build && exit {build_code}
for word in "$@"; do case "$word" in *.part) echo image > "${{word#oci-archive:}}";; esac; done
exit {save_code}
"""


@pytest.fixture
def project(tmp_path: Path, plugin_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a project with an artifact, and an empty directory programs/ that is the whole PATH."""
    project = tmp_path / "project"
    (project / "programs").mkdir(parents=True)
    monkeypatch.chdir(project)
    bundle_project.write_project(project, plugin_root)
    return project


def install(
    project: Path, name: str, monkeypatch: pytest.MonkeyPatch, *, build_code: int = 0, save_code: int = 0
) -> None:
    script = BUILDER.format(log=project / "log", build_code=build_code, save_code=save_code)
    (project / "programs" / name).write_text(script)
    (project / "programs" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{project / 'programs'}:/usr/bin:/bin")
    monkeypatch.setattr(
        container.shutil, "which", lambda word: word if (project / "programs" / word).exists() else None
    )


def bundle(*options: str) -> int:
    return main.run(["bundle", "m/fp32", "--out", "out/m", "--container", *options])


def test_without_a_builder_nothing_is_written_and_the_message_names_the_programs_and_the_other_way(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(project / "programs"))
    with pytest.raises(EdgeproofError, match="buildah, podman, docker, and none is installed") as failure:
        bundle()
    assert "docker build DIRECTORY" in str(failure.value)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("buildah", "push {tag} oci-archive:{path}"),
        ("podman", "save --format oci-archive --output {path} {tag}"),
        ("docker", "save --output {path} {tag}"),
    ],
)
def test_an_image_for_the_boards_platform_is_built_from_the_bundle_and_saved(
    project: Path, name: str, save: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(project, name, monkeypatch)
    assert bundle("--platform", "linux/arm64") == 0
    build, saved = (project / "log").read_text().splitlines()
    tag = build.split()[-2]
    assert build == f"{name} build --platform linux/arm64 --tag {tag} out/m"
    assert tag.startswith("edgeproof-bundle:")
    partial = next(word for word in saved.split() if word.endswith(".part")).removeprefix("oci-archive:")
    assert saved == f"{name} " + save.format(tag=tag, path=partial)
    assert sorted(path.name for path in Path("out").iterdir()) == ["m", "m.image.tar", "m.tar"]
    assert Path("out/m.image.tar").read_text() == "image\n"
    assert "docker load --input m.image.tar" in capsys.readouterr().out


def test_a_builder_without_a_daemon_is_preferred(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(project, "docker", monkeypatch)
    install(project, "buildah", monkeypatch)
    assert container.find_builder().name == "buildah"


@pytest.mark.parametrize(("build_code", "save_code", "step"), [(1, 0, "build"), (0, 4, "save")])
def test_a_failed_builder_leaves_the_bundle_and_no_image(
    project: Path, build_code: int, save_code: int, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(project, "docker", monkeypatch, build_code=build_code, save_code=save_code)
    with pytest.raises(EdgeproofError, match=f"'docker {step}' failed with exit code {build_code or save_code}"):
        bundle()
    assert sorted(path.name for path in Path("out").iterdir()) == ["m", "m.tar"]


def test_a_platform_without_a_container_is_refused(project: Path) -> None:
    with pytest.raises(EdgeproofError, match="Add --container"):
        main.run(["bundle", "m/fp32", "--out", "out/m", "--platform", "linux/arm64"])
    assert not Path("out").exists()
