"""Check systems/<system>.json of both suites, and that every system has results."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from edgeproof.submission import tiny
from edgeproof.submission.checks.content import as_text, check_value
from edgeproof.submission.checks.tree import Parts, Tree
from edgeproof.submission.logs import quote
from edgeproof.submission.rules import INFERENCE_SYSTEM_FIELDS, STATUSES

COUNT = re.compile(r"[0-9]{1,6}")


def list_systems(tree: Tree, base: Parts) -> list[str]:
    """Return the names of the systems with results; add a problem for each system without any."""
    systems = tree.list_children((*base, "results"))
    if not systems:
        tree.add((*base, "results"), ["contains no system; expected results/<system>"])
    for system in systems:
        if not tree.list_children((*base, "results", system)):
            tree.add((*base, "results", system), ["contains no results; expected one directory for each artifact"])
    return systems


def check_inference_system(content: Mapping[str, Any] | None, submitter: str) -> Iterator[str]:
    """Check a system description of mlcommons/inference; None for a missing or unreadable one."""
    if content is None:
        return
    for key, is_required in INFERENCE_SYSTEM_FIELDS.items():
        value = content.get(key)
        if not isinstance(value, str) or (is_required and not value.strip()):
            yield f"{key} is {quote(value)}; expected a text{' that is not empty' if is_required else ''}"
    yield from check_value(content, "division", "open")
    yield from check_value(content, "submitter", submitter)
    yield from check_value(content, "system_type", "edge")
    if content.get("status") not in STATUSES:
        yield f"status is {quote(content.get('status'))}; expected one of {', '.join(STATUSES)}"
    for key in ("number_of_nodes", "accelerators_per_node"):
        if not COUNT.fullmatch(as_text(content.get(key))):
            yield f"{key} is {quote(content.get(key))}; expected a whole number"
    if "is_network" in content:
        yield "has is_network; expected a system without a network"


def check_tiny_system(content: Mapping[str, Any] | None, submitter: str) -> Iterator[str]:
    """Check a system description of mlcommons/tiny; None for a missing or unreadable one."""
    if content is None:
        return
    for key in tiny.SYSTEM_FIELDS:
        if not as_text(content.get(key)).strip():
            yield f"{key} is {quote(content.get(key))}; expected a text"
    yield from check_value(content, "Division", "open")
    yield from check_value(content, "Submitter", submitter)
    if content.get("Status") not in STATUSES:
        yield f"Status is {quote(content.get('Status'))}; expected one of {', '.join(STATUSES)}"
    if "system_type" in content:
        yield "has system_type, which makes the official checker fail; expected none"
