"""Configuration of Sphinx for the documentation site: `make docs` builds it into build/docs."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs/extensions"))
os.chdir(ROOT)  # the lists of studies and devices are those of this project

project = "edgeproof"
author = "the edgeproof authors"
copyright = "the edgeproof authors, Apache-2.0"
release = version = metadata.version("edgeproof")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated_reference"]
exclude_patterns = ["extensions"]
default_role = "code"  # docstrings are written with single backticks
highlight_language = "none"
smartquotes_action = "D"  # dashes only
myst_enable_extensions = ["deflist", "fieldlist"]
myst_heading_anchors = 4

add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
maximum_signature_line_length = 60
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"edgeproof {release}"
html_static_path = ["static"]
html_css_files = ["layout.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}

OTHER_GUIDES = "OTHER_GUIDES"


def setup(app: Sphinx) -> None:
    """List every page that index.md does not name among the how-to guides, so that a new page needs no edit there."""
    app.connect("source-read", list_other_guides)


def list_other_guides(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace the word OTHER_GUIDES in index.md by the pages that it does not name."""
    if page == "index":
        lines = {line.strip() for line in source[0].splitlines()}
        others = sorted(name for name in app.env.found_docs if name != "index" and name not in lines)
        source[0] = source[0].replace(OTHER_GUIDES, "\n".join(others))
