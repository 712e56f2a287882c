"""Bundle Vega, Vega-Lite and Vega-Embed into one script, so that the site loads nothing from the network."""

from __future__ import annotations

from importlib.metadata import version

from edgeproof.core.directories import write_text
from edgeproof.paths import WORK


def load_bundle() -> str:
    """Return the script, which sets window.vegaEmbed. Making it takes seconds, so it is cached for each version."""
    cache = WORK / f"vega-{version('vl-convert-python')}.js"
    if not cache.is_file():
        import vl_convert

        write_text(cache, vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
    return cache.read_text(encoding="utf-8")
