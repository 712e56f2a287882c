"""Read and write params.yaml. Its header holds a hash of its body, so that an edit by hand is noticed."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Collection
from pathlib import Path

import yaml

from edgeproof.config.params import Params
from edgeproof.config.validation import validate
from edgeproof.config.yaml_file import read_yaml
from edgeproof.core.directories import write_text
from edgeproof.core.errors import ConfigError, UnknownNameError

PARAMS = Path("params.yaml")
CURE = "Compose it with 'edgeproof compose'."
HEADER = "# Composed from conf/ by 'edgeproof compose {command}'. Body sha256: {digest}\n"
_HEADER_PATTERN = re.compile(r"^# Composed from conf/ by .* Body sha256: ([0-9a-f]{64})\n")


def read_params(path: Path = PARAMS) -> Params:
    """Read and check params.yaml. Raises ConfigError with the wrong key, the allowed values and the file to edit."""
    if not path.exists():
        raise ConfigError(f"{path} is missing. {CURE}")
    return validate(Params, read_yaml(path, CURE), str(path))


def read_stage_argument(kind: str, known: Collection[str]) -> str:
    """Return the only argument of a stage's command line. Raises UnknownNameError if it is not among the known ones."""
    words = sys.argv[1:]
    if len(words) != 1 or words[0] not in known:
        raise UnknownNameError(kind, " ".join(words), known, "'dvc repro' runs them all.")
    return words[0]


def write_params(params: Params, command: str = "", path: Path = PARAMS) -> None:
    """Write params.yaml in canonical form, with the arguments of `edgeproof compose` (`command`) in its header."""
    body = dump_params(params)
    header = HEADER.format(command=command, digest=hashlib.sha256(body.encode()).hexdigest()).replace(" '. ", "'. ")
    write_text(path, header + body)


def dump_params(params: Params) -> str:
    """Return the canonical YAML of params: equal params give equal text."""
    content = params.model_dump(mode="json", by_alias=True)
    return yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False, width=120, allow_unicode=True)


def is_edited_by_hand(path: Path = PARAMS) -> bool:
    """Return True if params.yaml was changed after it was composed, by hand or by `dvc exp run -S`."""
    if not path.is_file():
        return False
    text = path.read_text(encoding="utf-8", errors="replace")
    header = _HEADER_PATTERN.match(text)
    return header is None or hashlib.sha256(text[header.end() :].encode()).hexdigest() != header.group(1)
