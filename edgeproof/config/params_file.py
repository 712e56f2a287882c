"""params.yaml: what every stage reads, and what a composition writes under a header that detects later edits."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import yaml

from edgeproof.config.params import Params
from edgeproof.config.validation import validate
from edgeproof.core.directories import write_text
from edgeproof.core.errors import ConfigError

PARAMS = Path("params.yaml")
HEADER = "# Composed from conf/ by 'edgeproof compose {command}'. Body sha256: {digest}\n"
_HEADER_PATTERN = re.compile(r"^# Composed from conf/ by .* Body sha256: ([0-9a-f]{64})\n")


def read_params(path: Path = PARAMS) -> Params:
    """Read and check params.yaml. Raises ConfigError naming the key, what is allowed and the file to edit."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing. Compose it with 'edgeproof compose'.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not YAML: {' '.join(str(error).split())}. Compose it with 'edgeproof compose'."
        ) from None
    return validate(Params, content, str(path))


def write_params(params: Params, command: str = "", path: Path = PARAMS) -> None:
    """Write params.yaml canonically, under a header that tells a later composition whether it was edited by hand."""
    body = dump_params(params)
    header = HEADER.format(command=command, digest=hashlib.sha256(body.encode()).hexdigest()).replace(" '. ", "'. ")
    write_text(path, header + body)


def dump_params(params: Params) -> str:
    """The canonical YAML of params: the same text whatever composed it."""
    content = params.model_dump(mode="json", by_alias=True)
    return yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False, width=120, allow_unicode=True)


def is_edited_by_hand(path: Path = PARAMS) -> bool:
    """Whether params.yaml differs from what the last composition wrote (dvc exp run -S edits it too)."""
    if not path.is_file():
        return False
    text = path.read_text(encoding="utf-8")
    header = _HEADER_PATTERN.match(text)
    return header is None or hashlib.sha256(text[header.end() :].encode()).hexdigest() != header.group(1)
