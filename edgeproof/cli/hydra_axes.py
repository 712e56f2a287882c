"""The values of a search's key, which conf/ and the command line write in Hydra's grammar."""

from __future__ import annotations

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, RangeSweep

from edgeproof.config import compose as config_compose
from edgeproof.core.errors import ConfigError
from edgeproof.sweeps.search_space import ChoiceAxis, RangeAxis


def parse_axis(key: str, grammar: str) -> RangeAxis | ChoiceAxis:
    """Parse a key's values in Hydra's grammar. Raises ConfigError for invalid or empty ones."""
    with config_compose.raise_config_errors([f"{key}={grammar}"]):
        override = OverridesParser.create().parse_override(f"{key}={grammar}")
    value = override.value()
    if isinstance(value, IntervalSweep):
        assert value.start is not None
        assert value.end is not None
        if value.start >= value.end:
            raise ConfigError(f"search.space.{key}: {grammar} is empty. Put the lower end first.")
        return RangeAxis(value.start, value.end, None, "log" in value.tags, is_integer=False)
    if isinstance(value, RangeSweep):
        numbers = list(value.range())
        if not numbers:
            raise ConfigError(f"search.space.{key}: {grammar} is empty.")
        is_integer = all(isinstance(number, int) for number in numbers)
        return RangeAxis(numbers[0], numbers[-1], value.step, is_logarithmic=False, is_integer=is_integer)
    if override.is_sweep_override():
        return ChoiceAxis(tuple(override.sweep_string_iterator()))
    return ChoiceAxis((override.get_value_element_as_str(),))
