"""HTML: one page with one table, accessible to screen readers and without scripts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from jinja2 import Environment

from edgeproof.core.plain_text import escape_controls
from edgeproof.report import captions
from edgeproof.report.grids import Grid

SUFFIX = ".html"
STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 1.5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: left; white-space: nowrap; border-bottom: 1px solid #8884; }
.number { text-align: right; }
.interval, .refused, footer { opacity: .75; }
.interval { font-size: .85em; }
.best { font-weight: 700; }
""".strip()
# No whitespace between cells: with a hundred thousand cells it would be most of the document.
TABLE = """
<div class="scroll" role="region" aria-label="{{ grid.title }}" tabindex="0"><table>
<caption class="title">{{ grid.title }}</caption>
<thead>
{%- if groups %}
<tr>{% for group, width in groups %}
{%- if group %}<th scope="colgroup" colspan="{{ width }}">{{ group }}</th>
{%- else %}<td colspan="{{ width }}"></td>{% endif %}{% endfor %}</tr>
{%- endif %}
<tr>{% for heading in grid.headings %}<th scope="col"{% if heading.numeric %} class="number"{% endif %}>
{{- heading.text }}</th>{% endfor %}</tr>
</thead>
<tbody>
{%- for line in grid.lines %}{% set link = links[loop.index0] if links else {} %}
<tr>{% for cell in line %}
{%- if loop.index0 < grid.stubs %}{% set target = link[grid.headings[loop.index0].text] %}
{%- if target %}<th scope="row"><a href="{{ target }}">{{ cell.value }}</a></th>
{%- else %}<th scope="row">{{ cell.value }}</th>{% endif %}
{%- else %}<td{% if numeric[loop.index0] %} class="number"{% endif %}>
{%- if cell.is_empty %}<span aria-label="not measured">–</span>
{%- elif cell.refused %}<span class="refused">{{ cell.refused }}</span>
{%- else %}
{%- if cell.pareto %}<span title="{{ unbeaten }}" role="img" aria-label="{{ unbeaten }}">◆</span> {% endif %}
{%- if cell.best %}<b class="best" title="best on its device">{{ cell.value }}</b>{% else %}{{ cell.value }}{% endif %}
{%- if cell.interval %} <span class="interval">{{ cell.interval }}</span>{% endif %}{% endif %}
{%- for number in cell.notes %}<sup><a href="#{{ prefix }}note-{{ number }}">{{ number }}</a></sup>{% endfor %}</td>
{%- endif %}{% endfor %}</tr>
{%- endfor %}
</tbody>
</table></div>
{%- if not grid.lines %}<p>No measurement matches this table.</p>{% endif %}
{%- if grid.captions %}<p>{{ grid.captions | join(" ") }}</p>{% endif %}
{%- if grid.notes %}<footer><ol>
{%- for text in grid.notes %}<li id="{{ prefix }}note-{{ loop.index }}">{{ text }}</li>
{%- endfor %}</ol></footer>{% endif %}
""".strip()
PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ grid.title }}</title><style>{{ style | safe }}</style></head>
<body><main><h1>{{ grid.title }}</h1>
{{ table | safe }}
</main></body>
</html>
"""


def escape_value(value: object) -> object:
    """Return a value of a template with control characters escaped, unless it is markup (jinja2's `finalize`)."""
    return escape_controls(value) if type(value) is str else value


_ENVIRONMENT = Environment(autoescape=True, finalize=escape_value)
_TABLE, _PAGE = _ENVIRONMENT.from_string(TABLE), _ENVIRONMENT.from_string(PAGE)


def render(grid: Grid) -> bytes:
    """Return a page with the table."""
    return _PAGE.render(grid=grid, style=STYLE, table=render_table(grid)).encode()


def render_table(grid: Grid, prefix: str = "", links: Sequence[Mapping[str, str]] = ()) -> str:
    """Return the table and its notes, to be inserted into another page.

    Args:
        grid: the table.
        prefix: prepended to the ids of notes, to keep them unique on a page with several tables.
        links: for each line, the targets of its leading cells by the text of their heading.
    """
    groups = [
        (group, len(list(members)))
        for group, members in itertools.groupby(grid.headings, key=lambda heading: heading.group)
    ]
    numeric = [heading.numeric for heading in grid.headings]
    shown = groups if any(group for group, _ in groups) else []
    return _TABLE.render(
        grid=grid, groups=shown, numeric=numeric, prefix=prefix, links=links, unbeaten=captions.UNBEATEN
    )
