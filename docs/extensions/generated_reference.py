"""Sphinx directives that write reference pages from the code: commands, names in studies, schemes, and JSON Schemas."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from edgeproof.cli import listing, main

ROOT = Path(__file__).parents[2]
# A code span, an option, or a character that Markdown would read.
MARKDOWN = re.compile(r"(`[^`]*`)|(?<![\w/-])(--[a-z][a-z-]*)|([\\`*_<>\[\]{}|#~$])")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    writers: dict[str, Callable[..., Iterable[str]]] = {
        "edgeproof-commands": write_commands,
        "edgeproof-names": write_names,
        "edgeproof-schemes": write_schemes,
        "edgeproof-schema": write_schema,
    }
    for name, writer in writers.items():
        app.add_directive(name, _make_directive(writer))
    return {"parallel_read_safe": True}


def _make_directive(write: Callable[..., Iterable[str]]) -> type[SphinxDirective]:
    class GeneratedText(SphinxDirective):
        """Markdown that a function writes from the words behind the directive's name."""

        optional_arguments = 1

        def run(self) -> list[nodes.Node]:
            """Parse the Markdown; its headings become sections of the page."""
            text = "\n".join(write(*self.arguments))
            return self.parse_text_to_nodes(text, allow_section_headings=True)

    return GeneratedText


def write_commands() -> Iterator[str]:
    """Yield every command with its usage, arguments and options. Hydra parses the words of `sweep`."""
    os.environ["COLUMNS"] = "88"  # argparse breaks lines of the usage there
    helps = dict(_list_helps(main.list_commands().values()))
    for name, parser in main.list_commands().items():
        if not any(isinstance(action, argparse._SubParsersAction) for action in parser._actions):
            yield f"## edgeproof {name}\n"
            yield f"{_capitalize(_escape(helps[name]))}\n"
            yield f"```text\n{parser.format_usage().strip()}\n```\n"
            yield from _write_arguments(parser)
        elif not name:
            yield "## Options of edgeproof itself\n"
            yield from _write_arguments(parser)


def _list_helps(parsers: Iterable[argparse.ArgumentParser]) -> Iterator[tuple[str, str]]:
    """Yield the words of each command and its line in the help of the command above."""
    for parser in parsers:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for choice in action._choices_actions:
                    words = action.choices[choice.dest].prog.split()[1:]
                    yield " ".join(words), choice.help or ""


def _write_arguments(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield a definition list of a parser's arguments and options, without --help."""
    formatter = parser._get_formatter()
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction | argparse._SubParsersAction) or action.help == argparse.SUPPRESS:
            continue
        yield f"`{formatter._format_action_invocation(action)}`"
        yield f": {_escape(formatter._expand_help(action)) if action.help else '–'}\n"


def write_names() -> Iterator[str]:
    """Yield a table for each kind of names that a study may use, as `edgeproof list` prints them."""
    for kind, descriptions in listing.list_groups().items():
        yield f"## {kind.replace('_', ' ').capitalize()}\n"
        yield "| name | description |\n|---|---|"
        for name, description in descriptions.items():
            yield f"| `{name}` | {_escape(description)} |"
        yield ""


def write_schemes() -> Iterator[str]:
    """Yield a table of the schemes that each runtime has, by the files in conf/runtimes."""
    files = sorted((ROOT / "conf/runtimes").glob("*.yaml"))
    schemes = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))["schemes"] for path in files}
    schemes.pop("null")  # measures the harness, and has every scheme
    yield f"| scheme | {' | '.join(schemes)} |"
    yield f"|---|{':-:|' * len(schemes)}"
    for scheme in dict.fromkeys(name for names in schemes.values() for name in names):
        yield f"| `{scheme}` | {' | '.join('✓' if scheme in names else '–' for names in schemes.values())} |"


def write_schema(path: str) -> Iterator[str]:
    """Yield the keys of a JSON Schema and of the objects in it."""
    schema = json.loads((ROOT / path).read_text(encoding="utf-8"))
    yield f"## {Path(path).name.partition('-')[0]}.json\n"
    yield f"{_escape(schema.get('description', ''))}\n"
    yield from _write_keys(schema)
    for name, definition in schema["$defs"].items():
        yield f"### {name}\n"
        if "description" in definition:
            yield f"{_escape(definition['description'])}\n"
        yield from _write_keys(definition)


def _write_keys(schema: Mapping[str, Any]) -> Iterator[str]:
    required = schema.get("required", ())
    yield "| key | type | always | description |\n|---|---|---|---|"
    for name, content in schema.get("properties", {}).items():
        cells = [f"`{name}`", _escape(_name_type(content)), "yes" if name in required else ""]
        yield f"| {' | '.join(cells)} | {_escape(content.get('description', ''))} |"
    yield ""


def _name_type(content: Mapping[str, Any]) -> str:
    """Return the type of a key in words, such as 'list of string, or null'."""
    if "$ref" in content:
        return str(content["$ref"]).rpartition("/")[2]
    if "const" in content or "enum" in content:
        return " or ".join(map(str, content.get("enum", [content.get("const")])))
    if "anyOf" in content:
        return ", or ".join(_name_type(each) for each in content["anyOf"])
    if content.get("type") == "array":
        return f"list of {_name_type(content['items'])}" if "items" in content else "list"
    return str(content.get("type", "any"))


def _escape(text: str) -> str:
    """Return a text on one line for Markdown. Code spans stay, and options become code."""
    return MARKDOWN.sub(_escape_match, " ".join(text.split()))


def _escape_match(match: re.Match[str]) -> str:
    code, option, character = match.groups()
    return code or (f"`{option}`" if option else f"\\{character}")


def _capitalize(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}." if text else ""
