"""File names of the site's pages."""

from __future__ import annotations

import hashlib
import re

ArtifactKey = tuple[str, str, str]  # model, runtime, scheme

MAX_CHARACTERS = 80


def safe_name(*parts: str) -> str:
    """Return a readable and safe name of a file or directory that is unique for the given parts.

    Parts with special characters get a hash in their name, since two of them may look alike without these characters.
    """
    joined = "-".join(parts)
    readable = re.sub(r"[^a-z0-9_.-]+", "-", joined.lower()).strip(".-")[:MAX_CHARACTERS]
    if readable and joined == readable and "." not in readable:
        return readable
    return f"{readable}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:8]}"


def page_name(*parts: str) -> str:
    """Return the file name of a page that is unique for the given parts."""
    return f"{safe_name(*parts)}.html"


def artifact_page(artifact: ArtifactKey) -> str:
    """Return the path of an artifact's page within the site."""
    return f"artifacts/{page_name(*artifact)}"


def device_page(device: str) -> str:
    """Return the path of a device's page within the site."""
    return f"devices/{page_name(device)}"


def night_page(night: str) -> str:
    """Return the path of a night's page within the site."""
    return f"nights/{page_name(night)}"
