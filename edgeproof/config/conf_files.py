"""Check the files of conf/ before Hydra reads them. Hydra ends with a traceback, or never, for some broken files."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from edgeproof.config.yaml_file import read_yaml
from edgeproof.core.errors import ConfigError

_WORD = re.compile(r"\w+")


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
