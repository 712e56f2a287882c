"""The files and commands in docs/extending.md."""

from __future__ import annotations

import re

from tests.support.project import ROOT

GUIDE = ROOT / "docs" / "extending.md"
PLUGIN = re.compile(r"<!-- plugin: (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"<!-- command: (\S+) -->\n```bash\n(.*?)```", re.DOTALL)


def read_plugins() -> dict[str, str]:
    """Return the content of every file, by its path below a plugin directory."""
    return dict(PLUGIN.findall(GUIDE.read_text(encoding="utf-8")))


def read_commands() -> dict[str, str]:
    """Return every command by its name."""
    return dict(COMMAND.findall(GUIDE.read_text(encoding="utf-8")))
