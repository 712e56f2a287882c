"""Run a sweep's search with a goal: the smallest model that meets a target within a budget."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeproof.config.params import Params
    from edgeproof.sweeps.points import ComposedPoint
    from edgeproof.sweeps.search_space import ChoiceAxis, RangeAxis
    from edgeproof.sweeps.smallest.choices import ChoiceSpace

# The search, the study that it varies if a task has none of its own, and a part of the names of searches.
STUDY = "smallest"
NAME_DIGITS = 8


def run_composed(point: ComposedPoint, search: Mapping[str, Any], name: str | None, workers: int) -> int:
    """Run a search with a goal, whose study Hydra has composed. Return its exit code.

    Raises ConfigError for wrong options, and for networks without a search space or of another task.
    """
    from edgeproof.config import compose as config_compose
    from edgeproof.config.validation import validate
    from edgeproof.sweeps.points import ComposedPoint
    from edgeproof.sweeps.smallest import choices, run
    from edgeproof.sweeps.smallest.options import SmallestOptions

    options = validate(SmallestOptions, dict(search), "search (conf/search/*.yaml)")
    _check_models(point.params)
    _check_devices(point.params)
    # A floor that the user gives comes later, so it wins.
    fixed = [choices.compose_quality_floor(point.params.task), *point.overrides]
    space = _build_space(options, fixed, point)
    # The teacher's network follows this key in conf/study/smallest.yaml, but not in a study that names its network.
    teacher = f"++network.teacher={next(iter(space.networks))}"

    def compose(words: Sequence[str]) -> ComposedPoint:
        overrides = (*fixed, teacher, *words)
        return ComposedPoint(overrides, config_compose.compose(None, overrides))

    identity = options.model_dump(exclude={"save_as", "ablation"})
    digest = hashlib.sha256(repr((sorted(fixed), identity)).encode()).hexdigest()[:NAME_DIGITS]
    name = name or f"{point.params.task.name}-{STUDY}-{digest}"
    return run.run_smallest(run.plan_search(name, options, space, point.params, compose), workers=workers)


def _check_models(params: Params) -> None:
    """Raise ConfigError if a study lacks a model that a search varies."""
    from edgeproof.core.errors import ConfigError
    from edgeproof.sweeps.smallest import choices

    models = params.map_models()
    needed = (choices.TEACHER, choices.STUDENT, choices.SMALL, choices.ROUNDED)
    if missing := [name for name in needed if name not in models]:
        raise ConfigError(
            f"study '{params.study}' can't be varied by this search: it has no model {' or '.join(missing)}. "
            f"Start from a copy of conf/study/{STUDY}.yaml."
        )


def _check_devices(params: Params) -> None:
    """Raise ConfigError if a device's card lacks the runtime: all trainings would end in rows without a measurement."""
    from edgeproof.config import cards
    from edgeproof.core.errors import ConfigError
    from edgeproof.devices import device

    for session in params.bench.values():
        card = cards.read(session.device)
        if (reason := device.explain_missing_runtime(session.device, card, session.runtime)) is not None:
            example = next((f", such as {runtime}" for runtime in card.runtimes or {}), "")
            raise ConfigError(f"{reason}. Give one with --runtime{example}.")


def _build_space(options: Any, fixed: Sequence[str], point: ComposedPoint) -> ChoiceSpace:
    from edgeproof.cli.hydra_axes import parse_axis
    from edgeproof.config import compose as config_compose
    from edgeproof.core.described_tasks import load_task
    from edgeproof.core.errors import ConfigError
    from edgeproof.data.task_checks import is_classification
    from edgeproof.paths import DATA
    from edgeproof.sweeps.smallest import choices

    if set(options.space) != set(choices.KEYS):
        raise ConfigError(
            f"search.space must have the keys {', '.join(choices.KEYS)} (given: {', '.join(options.space)})."
        )
    name = point.params.task.name
    task = load_task(name, DATA / name)
    content = config_compose.compose_content(fixed)
    definitions = content["networks"]
    networks = {
        network: {key: parse_axis(key, grammar) for key, grammar in definition["search"].items()}
        for network, definition in _select_networks(options.networks, definitions, task).items()
    }
    keys = {key: parse_axis(key, grammar) for key, grammar in options.space.items()}
    has_teacher = is_classification(task) or hasattr(task, "distillation_loss")
    can_mix = is_classification(task) and not any(port.is_integer for port in task.INPUTS)
    return choices.ChoiceSpace(
        networks=networks,
        defaults={network: definitions[network]["options"] for network in networks},
        keys={**keys, "scheme": _select_schemes(keys["scheme"], content)},
        has_teacher=has_teacher,
        has_mixup=can_mix and keys["mixup"].list_probe_values() != ["0"],
    )


def _select_schemes(axis: RangeAxis | ChoiceAxis, content: Mapping[str, Any]) -> ChoiceAxis:
    """Return the values of search.space.scheme that the runtimes of a composed study have. Raises ConfigError."""
    from edgeproof.core.errors import ConfigError
    from edgeproof.sweeps.search_space import ChoiceAxis

    runtimes = content["bench"]["runtimes"]
    known = [scheme for name in runtimes for scheme in content["runtimes"][name]["schemes"]]
    values = axis.list_probe_values()
    selected = tuple(scheme for scheme in values if scheme in known)
    if not selected:
        raise ConfigError(
            f"search.space.scheme has {', '.join(values)}, and {', '.join(runtimes)} has none of them. Schemes to "
            f"choose from: {', '.join(known)}."
        )
    return ChoiceAxis(selected)


def _select_networks(names: Sequence[str], definitions: Mapping[str, Any], task: Any) -> dict[str, Any]:
    """Return the definitions of the networks that take the task's inputs.

    Raises UnknownNameError for an unknown network, and ConfigError for one without a search space and if none fits.
    """
    from edgeproof.core.errors import ConfigError, UnknownNameError
    from edgeproof.sweeps.smallest import fitting

    for name in names:
        if name not in definitions:
            raise UnknownNameError("network", name, definitions, f"To add one: conf/networks/{name}.yaml.")
        if not definitions[name].get("search"):
            spaces = ", ".join(sorted(key for key, definition in definitions.items() if definition.get("search")))
            raise ConfigError(
                f"network '{name}' has no search space. Add one to conf/networks/{name}.yaml, such as "
                f"'search: {{width: \"choice(16,24,32)\"}}'. Networks with one: {spaces}."
            )
    reasons = {name: fitting.explain_misfit(name, definitions[name]["options"], task) for name in names}
    fitting_names = [name for name in names if reasons[name] is None]
    if not fitting_names:
        listing = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise ConfigError(f"no network takes the inputs of this task. {listing}")
    return {name: definitions[name] for name in fitting_names}
