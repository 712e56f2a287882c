"""Say what a model was made from: its parent, and the teachers whose outputs it learned."""

from __future__ import annotations


def describe_origin(parent: str | None, teachers: str | None) -> str:
    """Return the parent and the teachers, such as "base, taught by teacher", or nothing for a model without any."""
    return ", ".join(part for part in (parent, teachers and f"taught by {teachers}") if part)


def describe_role(role: str) -> str:
    """Return the words before the name of a model that has this role in a lineage, such as "taught by"."""
    return "taught by" if role.startswith("teacher") else role
