"""Checks of a study before it is expanded: every name exists, and the parts of the study fit together.

Each check raises ConfigError (UnknownNameError for a name) that says which key is wrong and what is allowed.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass

from edgeproof.config import cards, task_kinds
from edgeproof.config.model_graph import find_network, read_framework
from edgeproof.config.study import ModelEntry, Study
from edgeproof.config.task_metric import load_metric
from edgeproof.core import plugins
from edgeproof.core.errors import ConfigError, UnknownNameError
from edgeproof.records import kinds


@dataclass(frozen=True)
class Mention:
    """A name that the study mentions: the kind of thing it names, and the names that exist of that kind."""

    kind: str
    name: str
    known: list[str]


def check_study(study: Study) -> None:
    """Check every name that the study mentions, its models and its scenarios. Raises ConfigError."""
    for mention in _list_mentions(study):
        if mention.name not in mention.known:
            raise UnknownNameError(mention.kind, mention.name, mention.known, _explain_where_to_add(mention))
        if mention.kind in plugins.SINGULAR.values() and not _is_own_data(mention, study):
            plugins.load(f"{mention.kind}s", mention.name)
    for device in study.bench.devices:
        cards.read(device)
    _check_quality_limits(study)
    _check_scheme_names(study)
    for name in study.models:
        _check_model(name, study)
    if len(set(study.seeds)) < len(study.seeds):
        raise ConfigError(f"seeds lists a seed twice: {', '.join(map(str, study.seeds))}.")
    _check_scenarios(study)


def check_frameworks(study: Study) -> None:
    """Check that each method works on its model's network and on its teachers' networks.

    Needs a study without cycles. Raises ConfigError when the frameworks differ.
    """
    for name, entry in study.models.items():
        framework = read_framework("methods", entry.method)
        for network in (find_network(study, model) for model in (name, *entry.teachers)):
            if read_framework("networks", network) != framework:
                raise ConfigError(
                    f"models.{name}: method '{entry.method}' works on networks of {framework}, and '{network}' is one "
                    f"of {read_framework('networks', network)}."
                )


def _list_mentions(study: Study) -> list[Mention]:
    models = list(study.models)
    mentions: list[tuple[str, str | None, list[str]]] = [
        ("task", study.task, list(study.tasks)),
        ("baseline model", study.bench.baseline, models),
        *(("runtime", runtime, list(study.runtimes)) for runtime in study.bench.runtimes),
        *(("scenario", scenario, list(study.scenarios)) for scenario in [*study.bench.every, *study.bench.final]),
    ]
    for entry in study.models.values():
        mentions += [
            ("method", entry.method, list(study.methods)),
            ("network", entry.network, list(study.networks)),
            ("parent model", entry.parent, models),
            ("control model", entry.control, models),
            *(("teacher model", teacher, models) for teacher in entry.teachers),
            *(("runtime", runtime, list(study.runtimes)) for runtime in entry.runtimes or []),
        ]
    return [Mention(kind, name, known) for kind, name, known in mentions if name is not None]


def _is_own_data(mention: Mention, study: Study) -> bool:
    """Return True for a task that a kind makes, which has no file of its own."""
    return mention.kind == "task" and task_kinds.find_kind(study.tasks[mention.name]) is not None


def _explain_where_to_add(mention: Mention) -> str:
    kind, name = mention.kind, mention.name
    if kind == "task":
        return (
            f"To add one for your own data: conf/tasks/{name}.yaml with a 'kind' (docs/your_own_data.md). With code: "
            f"{plugins.find_own_root()}/tasks/{name}.py and conf/tasks/{name}.yaml."
        )
    if kind in plugins.SINGULAR.values():
        return f"To add one: {plugins.find_own_root()}/{kind}s/{name}.py and conf/{kind}s/{name}.yaml."
    if kind == "scenario":
        return f"To add one: conf/scenarios/{name}.yaml."
    return "Models are named under 'models' in the study's YAML."


def _check_quality_limits(study: Study) -> None:
    """Check that the task's floor is not better than its target, and that limits of a proportion are shares."""
    where = f"conf/tasks/{study.task}.yaml"
    task = task_kinds.expand_task(study.task, study.tasks[study.task], study.seed)
    metric = load_metric(task["metric"])
    target, floor = task["quality_target"], task["quality_floor"]
    for key, limit in (("quality_target", target), ("quality_floor", floor)):
        if metric.interval == "wilson" and limit is not None and not 0 <= limit <= 1:
            raise ConfigError(f"{where}: {key} is a share from 0 to 1, because the task's metric is {metric.label}.")
    if floor is not None and metric.is_better(floor, target):
        raise ConfigError(
            f"{where}: quality_floor {metric.format(floor)} is better than quality_target {metric.format(target)}. "
            f"{'Less' if metric.better == 'less' else 'More'} is better in {metric.label}."
        )


def _check_scheme_names(study: Study) -> None:
    known = {scheme for definition in study.runtimes.values() for scheme in definition.schemes}
    schemes = [scheme for entry in study.models.values() for scheme in [*entry.schemes, *entry.final]]
    for scheme in schemes if study.scheme is None else [study.scheme, *schemes]:
        if scheme not in known:
            raise UnknownNameError("scheme", scheme, known, "Schemes are listed in conf/runtimes/*.yaml.")


def _check_model(name: str, study: Study) -> None:
    entry = study.models[name]
    if not set(entry.final) <= set(entry.schemes):
        raise ConfigError(f"models.{name}.final must be among its schemes ({', '.join(entry.schemes)}).")
    if len(set(entry.schemes)) < len(entry.schemes):
        raise ConfigError(f"models.{name}.schemes lists a scheme twice: {', '.join(entry.schemes)}.")
    measured = study.bench.runtimes
    if others := [runtime for runtime in entry.runtimes or [] if runtime not in measured]:
        raise ConfigError(
            f"models.{name}.runtimes has {', '.join(others)}, and bench.runtimes has only {', '.join(measured)}. "
            "Change one of them."
        )
    if (entry.network is None) == (entry.parent is None):
        raise ConfigError(f"models.{name} must name either a network to start from or a parent, and not both.")
    if entry.parent is not None and entry.network_options:
        raise ConfigError(
            f"models.{name}: network_options are allowed only with 'network'; this model has the network of its "
            f"parent '{entry.parent}'."
        )
    _check_teachers(name, entry)
    _check_parent(name, study)
    if getattr(plugins.load("methods", entry.method), "TEACHER_ONLY", False) and study.list_runtimes(name):
        raise ConfigError(
            f"models.{name}: method '{entry.method}' makes a teacher from a file, which can't be exported again. Add "
            "'runtimes: []'. To measure the file itself: edgeproof bench FILE"
        )
    if entry.control is not None and entry.family is None:
        raise ConfigError(
            f"models.{name}: 'control' needs a 'family', whose table compares the two; add 'family: <name>'."
        )


def _check_teachers(name: str, entry: ModelEntry) -> None:
    """Check the number of teachers: a method's `apply` has the keyword `teacher` for one, `teachers` for several.

    A keyword with a default needs no teacher.
    """
    parameters = inspect.signature(plugins.load("methods", entry.method).apply).parameters
    teachers = ", ".join(entry.teachers)
    if "teachers" in parameters:
        if len(entry.teachers) < 2 and parameters["teachers"].default is inspect.Parameter.empty:
            raise ConfigError(
                f"models.{name}: method '{entry.method}' learns from several teachers; "
                "add 'teacher: [<model>, <model>]'."
            )
    elif "teacher" in parameters:
        if not entry.teachers and parameters["teacher"].default is inspect.Parameter.empty:
            raise ConfigError(f"models.{name}: method '{entry.method}' learns from a teacher; add 'teacher: <model>'.")
        if len(entry.teachers) > 1:
            raise ConfigError(f"models.{name}: method '{entry.method}' learns from one teacher, not from {teachers}.")
    elif entry.teachers:
        raise ConfigError(f"models.{name}: method '{entry.method}' takes no teacher; remove 'teacher: {teachers}'.")


def _check_parent(name: str, study: Study) -> None:
    """Check that the parent was not made by a method with FINAL = True, which must be the last one applied."""
    parent = study.models[name].parent
    method = None if parent is None else study.models[parent].method
    if method is not None and getattr(plugins.load("methods", method), "FINAL", False):
        raise ConfigError(
            f"models.{name} can't start from '{parent}': its method '{method}' must be the last one applied."
        )


def _check_scenarios(study: Study) -> None:
    """Check the order and the loads: a Server load is a share of the rate that single-stream runs measured before."""
    if study.scenarios[study.bench.every[0]].scenario != "SingleStream":
        raise ConfigError("bench.every must begin with a SingleStream scenario (single_stream).")
    for key in [*study.bench.every, *study.bench.final]:
        is_server = study.scenarios[key].scenario == "Server"
        if is_server != (study.scenarios[key].load is not None):
            raise ConfigError(
                f"scenario '{key}' {'needs a' if is_server else 'takes no'} load: only Server has one. Edit "
                f"conf/scenarios/{key}.yaml."
            )
        if key in kinds.UNTIMED or key.endswith(("_test01", "_test04")):
            raise ConfigError(
                f"a scenario can't be called '{key}': records use that name for something else. Rename "
                f"conf/scenarios/{key}.yaml."
            )
    if any(study.scenarios[key].scenario == "Server" for key in study.bench.every):
        raise ConfigError(
            "a Server scenario belongs to bench.final: its load is a share of the rate that bench.every measures."
        )
