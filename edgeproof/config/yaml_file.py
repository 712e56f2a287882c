"""Read YAML that a user wrote. A file that is broken in any way raises ConfigError with its name and the line.

Plain PyYAML raises ValueError, RecursionError and others for some files, takes the last of duplicate keys silently,
and never ends for nested aliases ("billion laughs").
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import yaml
from yaml._yaml import CParser
from yaml.composer import Composer
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode
from yaml.resolver import Resolver

from edgeproof.core.errors import ConfigError

MAX_BYTES = 4_000_000
# Nodes are scalars, lists and mappings. An alias counts as many nodes as its anchor.
MAX_NODES = 200_000
MAX_DEPTH = 50
MAX_SHOWN_CHARACTERS = 40
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


def read_yaml(path: Path, cure: str = "") -> Any:
    """Return the content of a YAML file.

    Raises ConfigError with the file, the line and the problem, followed by `cure`, a sentence.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_BYTES / 1e6:g} MB, the limit for YAML files. {cure}".strip())
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}). {cure}".strip()) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}. {cure}".strip()) from None
    return parse_yaml(text, str(path), cure)


def parse_yaml(text: str, where: str, cure: str = "") -> Any:
    """Return the content of a YAML text. Raises ConfigError that begins with `where`, as `read_yaml` does."""
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        return loader.get_single_data()
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}{_explain(error, text)} {cure}".strip()) from None
    finally:
        if loader is not None:
            loader.dispose()


class _Loader(Composer, CParser, SafeConstructor, Resolver):
    """PyYAML's safe loader with limits. libyaml parses; Composer, in Python, builds the nodes that are counted."""

    # Dates are read as text, as Hydra does, because no setting is a date.
    yaml_implicit_resolvers = {
        letter: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for letter, resolvers in Resolver.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        CParser.__init__(self, text)
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)
        self._depth = 0
        self._nodes = 0
        # Maps the id of each finished node to the number of nodes in it.
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Node | None, index: Any) -> Node:
        """Build one node. Raises ConstructorError when a limit is exceeded or an alias is inside its own anchor."""
        event: Any = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            return self._compose_alias(parent, index, event)
        nodes_before = self._nodes
        self._count(1, event.start_mark)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _refuse(f"nested deeper than {MAX_DEPTH} levels", event.start_mark)
        node: Any = super().compose_node(parent, index)
        self._depth -= 1
        self._sizes[id(node)] = self._nodes - nodes_before
        return cast(Node, node)

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        """Return the value of a node. Raises ConstructorError for a value that its type does not allow."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
            kind = node.tag.rpartition(":")[2]
            text = f"'{_shorten(node.value)}'" if isinstance(node, ScalarNode) else "the value"
            raise _refuse(f"{text} is not a valid {kind}", node.start_mark) from None

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        """Build a mapping. Raises ConstructorError for duplicate keys."""
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, ScalarNode):
                name = (key.tag, key.value)
                if name in lines:
                    problem = f"duplicate key '{_shorten(key.value)}', which is in line {lines[name]} too"
                    raise _refuse(problem, key.start_mark)
                lines[name] = key.start_mark.line + 1
        return node

    def _compose_alias(self, parent: Node | None, index: Any, event: Any) -> Node:
        node: Any = super().compose_node(parent, index)
        if id(node) not in self._sizes:
            raise _refuse(f"alias '*{event.anchor}' is inside its own anchor", event.start_mark)
        self._count(self._sizes[id(node)], event.start_mark)
        return cast(Node, node)

    def _count(self, nodes: int, mark: Any) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise _refuse(f"more than {MAX_NODES:,} values, with aliases written out", mark)


def _refuse(problem: str, mark: Any) -> ConstructorError:
    """Return the error for a problem at a mark of PyYAML or libyaml."""
    return ConstructorError(None, None, problem, mark)


def _explain(error: yaml.YAMLError, text: str) -> str:
    """Return the line and the problem of an error of PyYAML in a text."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    context = getattr(error, "context", None)
    # An error at the end of the text is in its last line.
    line = "" if mark is None else f", line {min(mark.line + 1, len(text.splitlines()))}"
    kind = "" if isinstance(error, ConstructorError) else "not YAML: "
    return f"{line}: {kind}{' '.join(' '.join(filter(None, [context, problem])).split())}."


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}…"
