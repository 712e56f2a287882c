"""Find the files of conf/, and check them before Hydra reads them.

Hydra ends with a traceback, or never, for some broken files.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from edgeproof.config.yaml_file import read_yaml
from edgeproof.core import plugins
from edgeproof.core.errors import ConfigError
from edgeproof.paths import find_shipped

_WORD = re.compile(r"\w+")


def list_conf_directories(conf: Path) -> list[Path]:
    """Return the directories that hold configuration. A file in a later one replaces the same file in an earlier one.

    They are the conf/ that edgeproof ships, those of installed plugin packages, the project's own, and those of the
    directories in EDGEPROOF_PLUGINS.
    """
    packages = plugins.list_package_roots()
    given = [root for root in plugins.list_external_roots() if root not in packages]
    candidates = [find_shipped("conf"), *(root / "conf" for root in [*reversed(packages)]), conf]
    candidates += [root / "conf" for root in given]
    existing = [directory for directory in candidates if directory.is_dir()]
    return [path for path in existing if path == conf or path.resolve() != conf.resolve()]


def list_conf_names(group: str, conf: Path) -> list[str]:
    """Return the names of all files of a group such as 'study', sorted."""
    directories = list_conf_directories(conf)
    return sorted({path.stem for directory in directories for path in (directory / group).glob("*.yaml")})


def find_conf_file(group: str, name: str, conf: Path) -> Path:
    """Return the path of a file such as ('study', 'digits') that is used, or its place in `conf` if none exists."""
    paths = [directory / group / f"{name}.yaml" for directory in reversed(list_conf_directories(conf))]
    return next((path for path in paths if path.is_file()), conf / group / f"{name}.yaml")


def check_conf_files(directories: Collection[Path], libraries: Collection[str], overrides: Iterable[str] = ()) -> None:
    """Check the files that a composition reads: config.yaml, the libraries, and the files that are chosen by name.

    Args:
        directories: conf/ and those of external plugins.
        libraries: the directories that are read as a whole.
        overrides: Hydra's overrides, which choose files.

    A broken file that nothing chooses, such as another study, is not reported. Raises ConfigError with the file, the
    line and the problem.
    """
    chosen = {word for override in overrides for word in _WORD.findall(override)}
    errors: dict[str, ConfigError] = {}
    for path in [path for directory in directories for path in sorted(directory.rglob("*.yaml"))]:
        is_always_read = path.parent in directories or path.parent.name in libraries
        try:
            content = _read(path, path.stat().st_mtime_ns)
        except ConfigError as error:
            if is_always_read:
                raise
            errors[path.stem] = error
        else:
            defaults = content.get("defaults") if isinstance(content, dict) else None
            chosen.update(_WORD.findall(str(defaults)))
    for name in errors.keys() & chosen:
        raise errors[name]


@functools.lru_cache(maxsize=1024)
def _read(path: Path, _modified_ns: int) -> Any:
    """Return the content of a file. It is kept, since a search composes hundreds of times."""
    return read_yaml(path)
