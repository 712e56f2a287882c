"""Text from outside, such as names, messages and answers of devices, made safe to show.

A terminal obeys control characters, and characters that set the direction of writing make a text look like another one.
Everything that shows text from outside escapes both here: the terminal, Markdown, CSV, LaTeX and HTML.
"""

from __future__ import annotations

import re
import unicodedata

# Control, format (direction and zero width), surrogate, line separator, paragraph separator.
HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Everything but printable ASCII. A regular expression finds these few characters fast in long texts.
SUSPECT = re.compile(r"[^\x20-\x7e]")
MAX_BASIC_CODE = 0xFFFF


def escape_controls(text: str, keep: str = "\n\t") -> str:
    """Return text with every control and format character as JSON writes it: '\\u001b' for the escape character.

    Characters in `keep` stay. The result can be encoded as UTF-8, even if the text holds lone surrogates.
    """
    return SUSPECT.sub(lambda match: match[0] if match[0] in keep else _escape(match[0]), text)


def _escape(character: str) -> str:
    if unicodedata.category(character) not in HIDDEN_CATEGORIES:
        return character
    code = ord(character)
    if code <= MAX_BASIC_CODE:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
