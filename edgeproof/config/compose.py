"""From conf/ to params.yaml: composed once by Hydra, expanded into stages, validated once.

The libraries (tasks, networks, methods, runtimes, scenarios) are read whole, so the directory is the registry and
any key of any definition can be overridden in Hydra's grammar: methods.distill.options.temperature=2.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, NonNegativeInt, PositiveInt

from edgeproof.config import cards
from edgeproof.config.params import (
    FAMILIES,
    PARAMS,
    SCHEMA,
    Compliance,
    Family,
    Frozen,
    Id,
    Params,
    Preset,
    ScenarioParams,
    TaskParams,
    checked,
)
from edgeproof.config.references import reference
from edgeproof.core import plugins
from edgeproof.core.directories import write_text
from edgeproof.core.errors import ConfigError, UnknownName
from edgeproof.records import record_files

CONF = Path("conf")
ROOT = "edgeproof_root"
MESSAGE_LINES = 12
LOCK = Path("requirements.lock")
FRAMEWORK_PACKAGES = {"torch": ["torch"], "keras": ["keras", "tensorflow"]}
LIBRARIES = ("tasks", "networks", "methods", "runtimes", "scenarios")
HEADER = "# Composed from conf/ by 'edgeproof compose {command}'. Body sha256: {digest}\n"
_HEADER_PATTERN = re.compile(r"^# Composed from conf/ by .* Body sha256: ([0-9a-f]{64})\n")


class ModelEntry(Frozen):
    """One node of the graph as a study writes it: from a network or a parent, perhaps with a teacher."""

    method: Id
    network: Id | None = None
    network_options: dict[str, Any] = {}
    parent: Id | None = None
    teacher: Id | list[Id] | None = None
    options: dict[str, Any] = {}
    family: Id | None = None
    control: Id | None = None
    runtimes: list[Id] | None = None
    schemes: list[str] = Field(default=["fp32"], min_length=1)
    final: list[str] = []

    @property
    def teachers(self) -> list[str]:
        """All its teachers, be there none, one or several."""
        return [self.teacher] if isinstance(self.teacher, str) else list(self.teacher or [])


class PresetEntry(Frozen):
    """How long and how often to measure."""

    preset: Preset
    processes: PositiveInt
    warm_up_s: float = Field(gt=0, le=3600)
    cool_down_s: float = Field(ge=0, le=3600)
    compliance: list[Compliance] = []


class BenchEntry(PresetEntry):
    """What to measure, where, how often."""

    devices: list[Id] = Field(min_length=1)
    runtimes: list[Id] = Field(min_length=1)
    session: NonNegativeInt
    turns: NonNegativeInt = 0
    every: list[Id] = Field(min_length=1)
    final: list[Id]
    baseline: Id


class MethodDefinition(Frozen):
    stage: Family
    packages: list[str]
    options: dict[str, Any]


class NetworkDefinition(Frozen):
    options: dict[str, Any]


class RuntimeDefinition(Frozen):
    schemes: list[str]
    host_packages: list[str]
    device_packages: list[str]


class TaskDefinition(TaskParams):
    name: Id = "unnamed"
    seed: NonNegativeInt = 0


Knobs = dict[str, Any]


class Study(Frozen):
    """A composed study: the graph, what to measure, and the libraries it draws on."""

    study: Id
    task: Id
    seed: NonNegativeInt
    seeds: list[NonNegativeInt] = []
    threads: int = Field(ge=1, le=256)
    scheme: str | None = None
    models: dict[Id, ModelEntry] = Field(min_length=1)
    bench: BenchEntry
    network: Knobs = {}
    sequences: Knobs = {}
    attention: Knobs = {}
    train: Knobs = {}
    distill: Knobs = {}
    prune: Knobs = {}
    quantize: Knobs = {}
    tasks: dict[Id, Any]
    networks: dict[Id, NetworkDefinition]
    methods: dict[Id, MethodDefinition]
    scenarios: dict[Id, ScenarioParams]
    runtimes: dict[Id, RuntimeDefinition]


class Measuring(Frozen):
    """How to measure what no study made: a preset, over the scenarios and runtimes that exist."""

    bench: PresetEntry
    scenarios: dict[Id, ScenarioParams]
    runtimes: dict[Id, RuntimeDefinition]


def studies(conf: Path = CONF) -> list[str]:
    """The studies that exist."""
    return sorted(path.stem for path in (conf / "study").glob("*.yaml"))


def default_study(conf: Path = CONF) -> str:
    """The study that conf/config.yaml names in its defaults."""
    defaults = yaml.safe_load((conf / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    return str(next(entry["study"] for entry in defaults if isinstance(entry, dict) and "study" in entry))


def compose(study: str | None = None, overrides: Sequence[str] = (), conf: Path = CONF) -> Params:
    """Compose a study with Hydra overrides into checked params. Raises ConfigError."""
    return expand(_validated(_composed(study, overrides, conf), study, conf))


def params_of(composed: DictConfig, apart: Collection[str] = ()) -> tuple[Params, dict[str, Any]]:
    """Checked params of what Hydra composed, and apart from them the keys that are no study's. Raises ConfigError."""
    with told_as_config_error(()):
        content = _plain(composed)
    kept_apart = {key: content.pop(key) for key in apart if key in content}
    return expand(_validated(content, None, CONF)), kept_apart


def measuring(preset: str, conf: Path = CONF) -> Measuring:
    """Compose a preset without a study. Raises ConfigError."""
    known = sorted(path.stem for path in (conf / "preset").glob("*.yaml"))
    if preset not in known:
        raise UnknownName("preset", preset, known, f"To add one: {conf}/preset/{preset}.yaml.")
    content = _hydra(("scenarios", "runtimes"), {"preset": preset}, (), conf)
    return checked(Measuring, content, f"{conf}/preset/{preset}.yaml (composed)")


def write(params: Params, command: str = "", path: Path = PARAMS) -> None:
    """Write params.yaml canonically, under a header that tells a later composition whether it was edited by hand."""
    body = dump(params)
    header = HEADER.format(command=command, digest=hashlib.sha256(body.encode()).hexdigest()).replace(" '. ", "'. ")
    write_text(path, header + body)


def dump(params: Params) -> str:
    """The canonical YAML of params: the same text whatever composed it."""
    content = params.model_dump(mode="json", by_alias=True)
    return yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False, width=120, allow_unicode=True)


def edited_by_hand(path: Path = PARAMS) -> bool:
    """Whether params.yaml differs from what the last composition wrote (dvc exp run -S edits it too)."""
    if not path.is_file():
        return False
    text = path.read_text(encoding="utf-8")
    header = _HEADER_PATTERN.match(text)
    return header is None or hashlib.sha256(text[header.end() :].encode()).hexdigest() != header.group(1)


# --- composing ---------------------------------------------------------------------------------------------------


def _composed(study: str | None, overrides: Sequence[str], conf: Path) -> dict[str, Any]:
    if study is not None and study not in studies(conf):
        raise UnknownName("study", study, studies(conf), f"To add one: {conf}/study/{study}.yaml.")
    chosen = [f"study={study}"] if study is not None else []
    return _hydra(LIBRARIES, "config", [*chosen, *overrides], conf)


def _hydra(
    libraries: Sequence[str], root: str | Mapping[str, str], overrides: Sequence[str], conf: Path
) -> dict[str, Any]:
    with told_as_config_error(overrides, conf), one_directory(conf) as directory:
        store_root(directory, libraries, root)
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(directory), version_base="1.3", job_name="edgeproof"):
            return _plain(hydra_compose(ROOT, list(overrides)))


def _plain(composed: DictConfig) -> dict[str, Any]:
    content = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


@contextmanager
def told_as_config_error(overrides: Sequence[str], conf: Path = CONF) -> Iterator[None]:
    """Whatever Hydra, OmegaConf or a file of conf/ refuses becomes one ConfigError."""
    try:
        yield
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise ConfigError(_hydra_message(error, overrides, conf)) from None


def store_root(directory: Path, libraries: Sequence[str] = LIBRARIES, root: str | Mapping[str, str] = "config") -> None:
    """Register what holds every definition of the libraries; the root is read over it, so that it may change any.

    Definitions are read here instead of being listed as defaults, since a default costs Hydra 20 ms a composition.
    """
    definitions = {
        library: {path.stem: OmegaConf.load(path) for path in sorted((directory / library).glob("*.yaml"))}
        for library in libraries
    }
    ConfigStore.instance().store(ROOT, {"defaults": ["_self_", root], **definitions})


@contextmanager
def one_directory(conf: Path = CONF) -> Iterator[Path]:
    """conf/ itself, or a temporary copy into which the conf/ of outside plugin directories is merged."""
    roots = [root / "conf" for root in plugins.outside_roots() if (root / "conf").is_dir()]
    if not roots:
        yield conf.resolve()
        return
    with tempfile.TemporaryDirectory() as scratch:
        merged = Path(scratch) / "conf"
        for root in [conf.resolve(), *roots]:
            shutil.copytree(root, merged, dirs_exist_ok=True)
        yield merged


def _hydra_message(error: Exception, overrides: Sequence[str], conf: Path) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [
        line for line in lines if not line.startswith(("full_key", "object_type", "reference_type", "Config search"))
    ]
    text = " ".join(told[:MESSAGE_LINES])
    cause = error.__cause__
    if cause is not None and str(cause) not in text:
        text += " " + " ".join(str(cause).splitlines()[:1])
    given = f" Overrides given: {' '.join(overrides)}." if overrides else ""
    return f"could not compose {conf}/: {text}.{given} 'edgeproof compose --print' shows every key that exists."


def _validated(content: dict[str, Any], study: str | None, conf: Path) -> Study:
    where = f"{conf}/study/{content.get('study', study)}.yaml (composed)"
    return checked(Study, content, where)


# --- expanding ---------------------------------------------------------------------------------------------------


def expand(study: Study) -> Params:
    """Expand a study into the stages of dvc.yaml, checking every name it mentions. Raises ConfigError."""
    study = _in_one_scheme(study)
    _check_names(study)
    names = _in_lineage_order(study)
    families: dict[str, dict[str, Any]] = {family: {} for family in FAMILIES}
    for name in names:
        families[study.methods[study.models[name].method].stage][name] = _model(study, name)
    content = {
        "schema": SCHEMA,
        "study": study.study,
        "task": _task(study),
        **families,
        "export": _exports(study, names),
        "bench": _benches(study, names),
        "report": _report(study, names),
    }
    return checked(Params, content, f"conf/study/{study.study}.yaml (expanded)")


def _in_one_scheme(study: Study) -> Study:
    """With `scheme` set, every model is exported in it alone; the baseline in fp32, which others are compared with."""
    if study.scheme is None:
        return study
    schemes = {name: "fp32" if name == study.bench.baseline else study.scheme for name in study.models}
    models = {
        name: entry.model_copy(update={"schemes": [schemes[name]], "final": [schemes[name]] if entry.final else []})
        for name, entry in study.models.items()
    }
    return study.model_copy(update={"models": models})


def _check_names(study: Study) -> None:
    for kind, name, known in _mentions(study):
        if name not in known:
            raise UnknownName(kind, name, known, _where_to_add(kind, name))
        if kind in plugins.SINGULAR.values():
            plugins.load(f"{kind}s", name)
    for card in study.bench.devices:
        cards.card(card)
    _check_schemes(study)
    for name, entry in study.models.items():
        if not set(entry.final) <= set(entry.schemes):
            raise ConfigError(f"models.{name}.final must be among its schemes ({', '.join(entry.schemes)}).")
        if len(set(entry.schemes)) < len(entry.schemes):
            raise ConfigError(f"models.{name}.schemes lists a scheme twice: {', '.join(entry.schemes)}.")
        _check_start(name, entry)
        _check_parent(name, study)
        if entry.control is not None and entry.family is None:
            raise ConfigError(f"models.{name}: a control belongs to a family's table; add 'family: <name>'.")
    if len(set(study.seeds)) < len(study.seeds):
        raise ConfigError(f"seeds lists a seed twice: {', '.join(map(str, study.seeds))}.")
    _check_scenarios(study)


def _check_schemes(study: Study) -> None:
    known = {scheme for definition in study.runtimes.values() for scheme in definition.schemes}
    named = [scheme for entry in study.models.values() for scheme in [*entry.schemes, *entry.final]]
    for scheme in named if study.scheme is None else [study.scheme, *named]:
        if scheme not in known:
            raise UnknownName("scheme", scheme, known, "Schemes are listed in conf/runtimes/*.yaml.")


def _mentions(study: Study) -> list[tuple[str, str, list[str]]]:
    """Every name the study mentions, with what it may be."""
    models = list(study.models)
    found: list[tuple[str, str | None, list[str]]] = [
        ("task", study.task, list(study.tasks)),
        ("baseline model", study.bench.baseline, models),
        *(("runtime", runtime, list(study.runtimes)) for runtime in study.bench.runtimes),
        *(("scenario", scenario, list(study.scenarios)) for scenario in [*study.bench.every, *study.bench.final]),
    ]
    for entry in study.models.values():
        found += [
            ("method", entry.method, list(study.methods)),
            ("network", entry.network, list(study.networks)),
            ("parent model", entry.parent, models),
            ("control model", entry.control, models),
            *(("teacher model", teacher, models) for teacher in entry.teachers),
            *(("runtime", runtime, study.bench.runtimes) for runtime in entry.runtimes or []),
        ]
    return [(kind, name, known) for kind, name, known in found if name is not None]


def _where_to_add(kind: str, name: str) -> str:
    if kind in plugins.SINGULAR.values():
        return f"To add one: edgeproof/{kind}s/{name}.py and conf/{kind}s/{name}.yaml."
    if kind == "scenario":
        return f"To add one: conf/scenarios/{name}.yaml."
    return "Models are named under 'models' in the study's YAML."


def _check_scenarios(study: Study) -> None:
    """A load is a share of the rate that single-stream runs of the same session tell, so these come first."""
    if study.scenarios[study.bench.every[0]].scenario != "SingleStream":
        raise ConfigError("bench.every must begin with a SingleStream scenario (single_stream).")
    for key in [*study.bench.every, *study.bench.final]:
        served = study.scenarios[key].scenario == "Server"
        if served != (study.scenarios[key].load is not None):
            raise ConfigError(f"scenario '{key}' {'needs a' if served else 'takes no'} load: only Server has one.")
        if key in record_files.UNTIMED or key.endswith(("_test01", "_test04")):
            raise ConfigError(f"a scenario can't be called '{key}': records use that name for something else.")
    if any(study.scenarios[key].scenario == "Server" for key in study.bench.every):
        raise ConfigError("a Server scenario belongs to bench.final: its load is a share of what bench.every tells.")


def _check_start(name: str, entry: ModelEntry) -> None:
    if (entry.network is None) == (entry.parent is None):
        raise ConfigError(f"models.{name} must name either a network to start from or a parent, and not both.")
    if entry.parent is not None and entry.network_options:
        raise ConfigError(f"models.{name}: network_options need a network; a parent's network is kept as it is.")
    _check_teachers(name, entry)


def _check_parent(name: str, study: Study) -> None:
    """Nothing starts from what a method with FINAL = True has made."""
    parent = study.models[name].parent
    method = None if parent is None else study.models[parent].method
    if method is not None and getattr(plugins.load("methods", method), "FINAL", False):
        raise ConfigError(
            f"models.{name} can't start from '{parent}': its method '{method}' must be the last one applied."
        )


def _check_teachers(name: str, entry: ModelEntry) -> None:
    """A method takes `teacher`, one model, or `teachers`, several, as its keyword says."""
    wanted = inspect.signature(plugins.load("methods", entry.method).apply).parameters
    given = ", ".join(entry.teachers)
    if "teachers" in wanted:
        if len(entry.teachers) < 2:
            raise ConfigError(
                f"models.{name}: method '{entry.method}' learns from several teachers; "
                "add 'teacher: [<model>, <model>]'."
            )
    elif "teacher" in wanted:
        if not entry.teachers and wanted["teacher"].default is inspect.Parameter.empty:
            raise ConfigError(f"models.{name}: method '{entry.method}' learns from a teacher; add 'teacher: <model>'.")
        if len(entry.teachers) > 1:
            raise ConfigError(f"models.{name}: method '{entry.method}' learns from one teacher, not from {given}.")
    elif entry.teachers:
        raise ConfigError(f"models.{name}: method '{entry.method}' takes no teacher; remove 'teacher: {given}'.")


def _in_lineage_order(study: Study) -> list[str]:
    """Models with parents and teachers first; the study's own order otherwise. Raises ConfigError on a cycle."""
    ordered: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise ConfigError(f"models form a cycle: {' → '.join([*path[path.index(name) :], name])}.")
        entry = study.models[name]
        for before in (entry.parent, *entry.teachers):
            if before is not None:
                visit(before, (*path, name))
        if name not in ordered:
            ordered.append(name)

    for name in study.models:
        visit(name, ())
    return ordered


def _model(study: Study, name: str) -> dict[str, Any]:
    entry = study.models[name]
    definition = study.methods[entry.method]
    network, network_options = _network(study, name)
    _check_framework(study, name, network)
    data = f"data/{study.task}/build"
    learnt_from = [f"models/{teacher}" for teacher in entry.teachers] + [data] * 3
    return {
        "method": entry.method,
        "parent": entry.parent,
        "teachers": entry.teachers,
        "network": network,
        "network_options": network_options,
        "options": _options("methods", entry.method, {**definition.options, **entry.options}, f"models.{name}.options"),
        "seeds": _seeds(study),
        "threads": study.threads,
        "packages": pinned(definition.packages),
        "inputs": {
            "parent": f"models/{entry.parent}" if entry.parent else data,
            "teacher": learnt_from[0],
            "teacher_2": learnt_from[1],
            "teacher_3": learnt_from[2],
        },
    }


def _check_framework(study: Study, name: str, network: str) -> None:
    """A method works on networks of its own framework alone, and so does it learn from them."""
    entry = study.models[name]
    wanted = _framework("methods", entry.method)
    for used in (network, *(_network(study, teacher)[0] for teacher in entry.teachers)):
        if _framework("networks", used) != wanted:
            raise ConfigError(
                f"models.{name}: method '{entry.method}' works on networks of {wanted}, and '{used}' is one of "
                f"{_framework('networks', used)}."
            )


def _framework(kind: str, name: str) -> str:
    """'torch' unless the plugin's file says another FRAMEWORK."""
    return str(getattr(plugins.load(kind, name), "FRAMEWORK", "torch"))


def _seeds(study: Study) -> list[int]:
    """Every model is made once from each of these; the first is the one whose latency is measured."""
    return study.seeds or [study.seed]


def _network(study: Study, name: str) -> tuple[str, dict[str, Any]]:
    """The network that a model's lineage starts from."""
    entry = study.models[name]
    while entry.network is None:
        assert entry.parent is not None
        entry = study.models[entry.parent]
    options = {**study.networks[entry.network].options, **entry.network_options}
    return entry.network, _options("networks", entry.network, options, f"models.{name}.network_options")


def _options(kind: str, name: str, options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check options against the plugin's own Options model, and return them in canonical form."""
    model = plugins.load(kind, name).Options
    valid = checked(
        model, dict(options), f"{where} ({plugins.SINGULAR[kind]} '{name}', defaults in conf/{kind}/{name}.yaml)"
    )
    dumped: dict[str, Any] = valid.model_dump(mode="json")
    return dumped


def _task(study: Study) -> dict[str, Any]:
    where = f"conf/tasks/{study.task}.yaml"
    definition = checked(TaskDefinition, study.tasks[study.task], where)
    return {**definition.model_dump(mode="json"), "name": study.task, "seed": study.seed}


def _runtimes_of(study: Study, name: str) -> list[str]:
    chosen = study.models[name].runtimes
    return study.bench.runtimes if chosen is None else chosen


def _exports(study: Study, names: Sequence[str]) -> dict[str, Any]:
    return {
        f"{name}_{runtime}": _export(study, name, runtime, study.models[name].schemes)
        for name in names
        for runtime in _runtimes_of(study, name)
    }


def _export(study: Study, model: str, runtime: str, schemes: Sequence[str]) -> dict[str, Any]:
    definition = study.runtimes[runtime]
    network, _ = _network(study, model)
    return {
        "model": model,
        "runtime": runtime,
        "schemes": list(schemes),
        "seeds": _seeds(study),
        "threads": study.threads,
        "packages": pinned([*definition.host_packages, *FRAMEWORK_PACKAGES[_framework("networks", network)]]),
    }


def _benches(study: Study, names: Sequence[str]) -> dict[str, Any]:
    return {
        f"{device}_{runtime}": _bench(study, names, device, runtime)
        for device in study.bench.devices
        for runtime in study.bench.runtimes
    }


def _bench(study: Study, names: Sequence[str], device: str, runtime: str) -> dict[str, Any]:
    measured = [name for name in names if runtime in _runtimes_of(study, name)]
    definition = study.runtimes[runtime]
    every = {key: study.scenarios[key].model_dump(mode="json") for key in study.bench.every}
    final = {key: study.scenarios[key].model_dump(mode="json") for key in study.bench.final}
    return {
        "device": device,
        "transport": cards.card(device).transport,
        "runtime": runtime,
        "session": study.bench.session,
        "preset": study.bench.preset,
        "processes": study.bench.processes,
        "turns": study.bench.turns,
        "against": _against(study, measured) if study.bench.turns else {},
        "warm_up_s": study.bench.warm_up_s,
        "cool_down_s": study.bench.cool_down_s,
        "compliance": study.bench.compliance,
        "seed": study.seed,
        "artifacts": {name: list(study.models[name].schemes) for name in measured},
        "seeds": _seeds(study),
        "final": {name: list(study.models[name].final) for name in measured if study.models[name].final},
        "every": every,
        "all": {**every, **final},
        "quality_target": _task(study)["quality_target"],
        "packages": pinned([*definition.device_packages, "mlcommons-loadgen", "numpy"]),
    }


def _against(study: Study, measured: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """What each artifact of a family stands against, where the session has that too."""
    known = {(name, scheme) for name in measured for scheme in study.models[name].schemes}
    found: dict[str, dict[str, list[str]]] = {}
    for name, scheme in sorted(known):
        entry = study.models[name]
        other = reference(name, scheme, entry.control)
        if entry.family is not None and other in known and other != (name, scheme):
            found.setdefault(name, {})[scheme] = list(other)
    return found


def _report(study: Study, names: Sequence[str]) -> dict[str, Any]:
    return {
        "models": [name for name in names if _runtimes_of(study, name)],
        "runtimes": study.bench.runtimes,
        "devices": study.bench.devices,
        "baseline": study.bench.baseline,
        "final": {name: list(study.models[name].final) for name in names if study.models[name].final},
        "families": _families(study),
    }


def _families(study: Study) -> dict[str, dict[str, str | None]]:
    families: dict[str, dict[str, str | None]] = {}
    for name, entry in study.models.items():
        if entry.family is not None:
            families.setdefault(entry.family, {})[name] = entry.control
    return families


def pinned(packages: Sequence[str], lock: Path = LOCK) -> dict[str, str]:
    """The exact version of each package in the lock: part of what DVC hashes, so that an upgrade rebuilds."""
    try:
        text = lock.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{lock} is missing from {Path.cwd()}. Run from the project's root.") from None
    versions = {
        _canonical(name): version for name, version in re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", text, re.MULTILINE)
    }
    missing = [package for package in packages if _canonical(package) not in versions]
    if missing:
        raise ConfigError(f"{lock} pins no version of {', '.join(missing)}. Add it there and run 'make setup'.")
    return {package: versions[_canonical(package)] for package in sorted(set(packages))}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
