"""Vega, Vega-Lite and their embedding as one script, from the pinned package: the site loads nothing from elsewhere."""

from __future__ import annotations

from importlib.metadata import version

from edgeproof.core.directories import write_text
from edgeproof.paths import WORK


def bundle() -> str:
    """The script, which sets window.vegaEmbed. It is made once a version and kept, since that takes seconds."""
    kept = WORK / f"vega-{version('vl-convert-python')}.js"
    if not kept.is_file():
        import vl_convert

        write_text(kept, vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
    return kept.read_text(encoding="utf-8")
