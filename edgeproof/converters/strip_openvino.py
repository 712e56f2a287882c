"""Strip an OpenVINO file: names of layers, and the shapes and types that its reader computes again."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

_LAYER = re.compile(r'<layer id="(\d+)" name="[^"]*"')
_INPUTS = re.compile(r"<input>.*?</input>", re.DOTALL)
_PRECISION = re.compile(r' precision="[^"]*"')
_SIZES = re.compile(r"<port ([^>]*[^/>])>(?:<dim>-?\d+</dim>)*</port>")


def strip(source: Path, target: Path) -> None:
    """Write a copy of an .xml and its .bin beside it, with the names of the inputs and outputs.

    A layer's name becomes its number.
    """
    xml = source.read_text(encoding="utf-8")
    xml = _LAYER.sub(r'<layer id="\1" name="\1"', xml)
    xml = _INPUTS.sub(lambda match: _PRECISION.sub("", match[0]), xml)
    xml = _SIZES.sub(r"<port \1/>", xml)
    target.write_text(xml.replace(" />", "/>").replace(", ", ","), encoding="utf-8")
    shutil.copyfile(source.with_suffix(".bin"), target.with_suffix(".bin"))
