"""Check that a study follows what a search sets in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeproof.config.params import Params
from edgeproof.core.errors import ConfigError
from edgeproof.sweeps.smallest.choices import SMALL, STUDENT, Choice


def check_study(params: Params, choice: Choice, epochs: tuple[int, int], teachers: Sequence[str]) -> None:
    """Check that each trained model of a composed candidate has the epochs, teachers and options of its choice.

    A study that does not follow them would train the same models for different candidates.

    Args:
        epochs: those of the student, and of each model that follows it.
        teachers: the teachers of the study's student.

    Raises ConfigError that names the first option that does not follow.
    """
    for name in choice.chain:
        model = params.find_model(name)
        wanted = _list_options(choice, name, epochs)
        given = {key: model.options.get(key) for key in wanted}
        wanted["teacher"], given["teacher"] = [] if choice.temperature is None else list(teachers), model.teachers
        for key, value in wanted.items():
            if given[key] != value:
                raise ConfigError(
                    f"study '{params.study}' can't be varied by this search: '{key}' of the model '{name}' is "
                    f"{given[key]}, and the search sets {value}. Write it as in conf/study/smallest.yaml."
                )


def _list_options(choice: Choice, name: str, epochs: tuple[int, int]) -> dict[str, Any]:
    options: dict[str, Any] = {"epochs": epochs[0] if name == STUDENT else epochs[1]}
    if choice.temperature is not None and choice.hard_weight is not None:
        options |= {"temperature": float(choice.temperature), "hard_weight": float(choice.hard_weight)}
    return options | {"ratio": float(choice.ratio)} if name == SMALL else options
