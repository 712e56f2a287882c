"""From a study to the parameters of the stages in dvc.yaml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import create_model

from edgeproof.config import cards, task_kinds
from edgeproof.config.checks import check_frameworks, check_study
from edgeproof.config.code_versions import describe_code, describe_plugins
from edgeproof.config.model_graph import find_network, find_root, read_framework, sort_by_lineage
from edgeproof.config.packages import pin
from edgeproof.config.params import MODEL_STAGES, NO_OWN_DATA, SCHEMA, Params
from edgeproof.config.project import MARKER
from edgeproof.config.references import find_reference
from edgeproof.config.runtime_extras import pin_for_export
from edgeproof.config.study import ModelEntry, Study
from edgeproof.config.validation import validate
from edgeproof.core import plugins
from edgeproof.core.errors import ConfigError, DataError
from edgeproof.paths import is_clone

# No option of a network or method, such as a width or a number of epochs, is larger.
MAX_OPTION = 1e9
FRAMEWORK_PACKAGES = {"torch": ["torch"], "keras": ["keras", "tensorflow"]}


def expand(study: Study) -> Params:
    """Check a study and return the parameters of the stages in dvc.yaml. Raises ConfigError."""
    study = _limit_schemes(study)
    check_study(study)
    names = sort_by_lineage(study)
    check_frameworks(study)
    models: dict[str, dict[str, Any]] = {stage: {} for stage in MODEL_STAGES}
    for name in names:
        models[study.methods[study.models[name].method].stage][name] = _expand_model(study, name)
    content = {
        "schema": SCHEMA,
        "study": study.study,
        "task": _expand_task(study),
        **models,
        "export": {
            f"{name}_{runtime}": _expand_export(study, name, runtime)
            for name in names
            for runtime in study.list_runtimes(name)
        },
        "bench": {
            f"{device}_{runtime}": _expand_bench(study, names, device, runtime)
            for device in study.bench.devices
            for runtime in study.bench.runtimes
        },
        "report": _expand_report(study, names),
    }
    if not is_clone():
        _add_code(content)
    return validate(Params, content, f"conf/study/{study.study}.yaml (expanded)")


def _add_code(content: dict[str, Any]) -> None:
    """Add the parameters by which the stages depend on the installed edgeproof and on plugins."""
    task = content["task"]
    # A task of a kind has no module of its own.
    own = ("tasks", task["module"]) if "module" in task else ("task_kinds", task["kind"])
    shared = {"task": own, "metric": ("metrics", task["metric"])}
    data = f"data/{task['name']}"
    content["code"] = describe_code()
    task["plugins"] = describe_plugins(shared, MARKER.as_posix())
    if task.get("depends_on", NO_OWN_DATA) == NO_OWN_DATA:  # a file of the clone
        task["depends_on"] = MARKER.as_posix()
    for item in [item for stage in MODEL_STAGES for item in content[stage].values()]:
        used = {**shared, "method": ("methods", item["method"]), "network": ("networks", item["network"])}
        item["plugins"] = describe_plugins(used, f"{data}/build")
    for item in content["export"].values():
        item["plugins"] = describe_plugins({**shared, "runtime": ("runtimes", item["runtime"])}, f"{data}/build")
    for item in content["bench"].values():
        used = {**shared, "runtime": ("runtimes", item["runtime"]), "transport": ("transports", item["transport"])}
        item["plugins"] = describe_plugins(used, f"{data}/test")


def _limit_schemes(study: Study) -> Study:
    """Export every model in the study's `scheme` alone, if it is set; the baseline stays in fp32 for comparison."""
    if study.scheme is None:
        return study
    schemes = {name: "fp32" if name == study.bench.baseline else study.scheme for name in study.models}
    models = {
        name: entry.model_copy(update={"schemes": [schemes[name]], "final": [schemes[name]] if entry.final else []})
        for name, entry in study.models.items()
    }
    return study.model_copy(update={"models": models})


def _expand_task(study: Study) -> dict[str, Any]:
    return task_kinds.expand_task(study.task, study.tasks[study.task], study.seed)


def _expand_model(study: Study, name: str) -> dict[str, Any]:
    entry = study.models[name]
    definition = study.methods[entry.method]
    root = find_root(study, name)
    network = find_network(study, name)
    network_options = {**study.networks[network].options, **root.network_options}
    options = {**definition.options, **entry.options}
    data = f"data/{study.task}/build"
    # dvc.yaml has a fixed number of inputs; the prepared data fills those that a model doesn't use.
    teachers = [f"models/{teacher}" for teacher in entry.teachers] + [data] * 3
    return {
        "method": entry.method,
        "parent": entry.parent,
        "teachers": entry.teachers,
        "network": network,
        "network_options": _check_options("networks", network, network_options, f"models.{name}.network_options"),
        "options": _check_options("methods", entry.method, options, f"models.{name}.options"),
        "seeds": study.list_seeds(),
        "threads": study.threads,
        "packages": pin(definition.packages),
        "inputs": {
            "parent": f"models/{entry.parent}" if entry.parent else _find_own_file(name, entry.method, options) or data,
            "teacher": teachers[0],
            "teacher_2": teachers[1],
            "teacher_3": teachers[2],
        },
    }


def _find_own_file(name: str, method: str, options: Mapping[str, Any]) -> str | None:
    """Return the path of the user's file that a method starts from, or None. Raises DataError if it does not exist.

    A published file, which has sources, is none: the method fetches it, and its checksum among the options pins it.
    """
    option = getattr(plugins.load("methods", method), "FILE_OPTION", None)
    if option is None or options.get("sources"):
        return None
    path = str(options[option])
    if not Path(path).is_file():
        raise DataError(
            f"models.{name}.options.{option}: there is no file '{path}' in {Path.cwd()}. Put it there, or change the "
            "option in the study."
        )
    return path


def _check_options(kind: str, name: str, options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check options against the plugin's Options model. Return them with defaults, as plain JSON values."""
    source = f"{where} ({plugins.SINGULAR[kind]} '{name}', defaults in conf/{kind}/{name}.yaml)"
    model = getattr(plugins.load(kind, name), "Options", None)
    if model is None:
        raise ConfigError(
            f"{plugins.find_source(kind, name)} has no class 'Options'. Every {plugins.SINGULAR[kind]} has one, a "
            "pydantic model with its options, such as: class Options(BaseModel): width: int (docs/extending.md)"
        )
    if model.model_config.get("extra", "ignore") == "ignore":  # else a misspelt option would have no effect
        model = create_model(model.__name__, __base__=model, __cls_kwargs__={"extra": "forbid"})
    checked = validate(model, dict(options), source, MAX_OPTION)
    content: dict[str, Any] = checked.model_dump(mode="json")
    return content


def _expand_export(study: Study, model: str, runtime: str) -> dict[str, Any]:
    framework = read_framework("networks", find_network(study, model))
    return {
        "model": model,
        "runtime": runtime,
        "schemes": list(study.models[model].schemes),
        "seeds": study.list_seeds(),
        "threads": study.threads,
        "packages": pin_for_export(runtime, [*study.runtimes[runtime].host_packages, *FRAMEWORK_PACKAGES[framework]]),
        "strip": study.strip,
    }


def _expand_bench(study: Study, names: Sequence[str], device: str, runtime: str) -> dict[str, Any]:
    models = {name: study.models[name] for name in names if runtime in study.list_runtimes(name)}
    every = {key: study.scenarios[key].model_dump(mode="json") for key in study.bench.every}
    final = {key: study.scenarios[key].model_dump(mode="json") for key in study.bench.final}
    task = _expand_task(study)
    return {
        "device": device,
        "transport": cards.read(device).transport,
        "runtime": runtime,
        "session": study.bench.session,
        "preset": study.bench.preset,
        "processes": study.bench.processes,
        "interleaved": study.bench.interleaved,
        "against": _pair_artifacts(models) if study.bench.interleaved else {},
        "warm_up_s": study.bench.warm_up_s,
        "cool_down_s": study.bench.cool_down_s,
        "compliance": study.bench.compliance,
        "seed": study.seed,
        "artifacts": {name: list(entry.schemes) for name, entry in models.items()},
        "seeds": study.list_seeds(),
        "final": {name: list(entry.final) for name, entry in models.items() if entry.final},
        "every": every,
        "all": {**every, **final},
        **{name: task[name] for name in ("quality_target", "quality_floor")},
        "packages": pin([*study.runtimes[runtime].device_packages, "mlcommons-loadgen", "numpy"]),
    }


def _pair_artifacts(models: Mapping[str, ModelEntry]) -> dict[str, dict[str, list[str]]]:
    """Return the reference of each artifact of a family that the session measures: model → scheme → [model, scheme]."""
    artifacts = {(name, scheme) for name, entry in models.items() for scheme in entry.schemes}
    references: dict[str, dict[str, list[str]]] = {}
    for name, scheme in sorted(artifacts):
        entry = models[name]
        reference = find_reference(name, scheme, entry.control)
        if entry.family is not None and reference in artifacts and reference != (name, scheme):
            references.setdefault(name, {})[scheme] = list(reference)
    return references


def _expand_report(study: Study, names: Sequence[str]) -> dict[str, Any]:
    families: dict[str, dict[str, str | None]] = {}
    for name, entry in study.models.items():
        if entry.family is not None:
            families.setdefault(entry.family, {})[name] = entry.control
    return {
        "models": [name for name in names if study.list_runtimes(name)],
        "runtimes": study.bench.runtimes,
        "devices": study.bench.devices,
        "baseline": study.bench.baseline,
        "final": {name: list(study.models[name].final) for name in names if study.models[name].final},
        "families": families,
    }
