"""Bring your own model: from a file that was made elsewhere straight to a session on a device and its table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.artifacts.external import adopt, files, inputs
from edgeproof.artifacts.external.files import AS_IS, Brought
from edgeproof.artifacts.external.inputs import Data
from edgeproof.bench import session as bench_session
from edgeproof.bench.session import Subject
from edgeproof.config import cards, compose
from edgeproof.config.compose import Measuring
from edgeproof.config.params import BenchParams, ScenarioParams, checked
from edgeproof.core.directories import write_text, written_whole
from edgeproof.core.errors import ConfigError, UnknownName
from edgeproof.paths import WORK
from edgeproof.records.record_files import BROUGHT
from edgeproof.report import interleaved, tables
from edgeproof.report.rows import rows

OUTCOMES = Path("results/brought")
BUILT = WORK / BROUGHT
SCHEMES = ("fp32", "fp16", "int8-dynamic", "int8-static")  # of a model when nobody chooses

Array = np.ndarray[Any, Any]
Plan = dict[str, dict[Brought, Sequence[str]]]  # runtime → file → schemes


@dataclass(frozen=True)
class Wishes:
    """What a user may choose. What is None follows from the files."""

    device: str = "local"
    preset: str = "standard"
    scenarios: Sequence[str] = ("single_stream", "offline")
    data: Path | None = None
    runtimes: Sequence[str] | None = None
    schemes: Sequence[str] | None = None
    output: str | None = None
    name: str | None = None
    in_turns: bool = False


def bench(paths: Sequence[Path], wishes: Wishes) -> tuple[str, Path]:
    """Measure files and write results/brought/<name>; returns the table as Markdown, and that directory.

    In turns, nothing is measured but how each artifact compares with the runtime's first. Everything is checked and
    lowered before anything is measured. Raises ConfigError.
    """
    how = compose.measuring(wishes.preset)
    transport = cards.card(wishes.device).transport
    brought = files.opened(paths)
    name = _name(wishes.name or brought[0].name + ("_in_turns" if wishes.in_turns else ""))
    plan = _plan(brought, how, wishes)
    scenarios = _scenarios(how, wishes.scenarios)
    data = None if wishes.data is None else inputs.read(wishes.data)
    sittings = {
        f"{wishes.device}_{runtime}": (
            _item(runtime, chosen, how, scenarios, {"device": wishes.device, "transport": transport}),
            _subject(runtime, chosen, data, wishes.output, name),
        )
        for runtime, chosen in plan.items()
    }
    if wishes.in_turns:
        sittings = {key: _in_turns(item, subject) for key, (item, subject) in sittings.items()}
    done = {key: bench_session.measured(item, subject) for key, (item, subject) in sittings.items()}
    with written_whole(OUTCOMES / name) as out:
        for key, session in done.items():
            session.finish(out / "records" / key)
        text = _table_in_turns(out) if wishes.in_turns else _tables(out, name, plan, wishes.device)
    return text, OUTCOMES / name


def highest(outputs: Array, labels: Array) -> Array:
    """Which rows of outputs (N, classes) have their highest value at the label (N,): top-1 accuracy."""
    hits: Array = outputs.argmax(axis=1) == labels
    return hits


def _plan(brought: Sequence[Brought], how: Measuring, wishes: Wishes) -> Plan:
    """Which runtime runs which file in which schemes. Raises ConfigError for a wish that no file fulfils."""
    asked = None if wishes.runtimes is None else _known("runtime", wishes.runtimes, how.runtimes)
    listed = {scheme for definition in how.runtimes.values() for scheme in definition.schemes}
    schemes = None if wishes.schemes is None else _known("scheme", wishes.schemes, listed)
    if schemes is not None and not any(file.takes_schemes for file in brought):
        raise ConfigError(
            f"{brought[0].path} is lowered already and is measured as it is: leave --schemes out, or bring the model "
            "it was made from."
        )
    plan: Plan = {}
    for file in brought:
        able = file.runtimes()
        chosen = file.own_runtimes() if asked is None else [runtime for runtime in asked if runtime in able]
        if not chosen:
            raise ConfigError(f"{file.path} can be run by {', '.join(able)}, and not by {', '.join(asked or [])}.")
        for runtime in chosen:
            offered = schemes or [scheme for scheme in SCHEMES if scheme in how.runtimes[runtime].schemes]
            plan.setdefault(runtime, {})[file] = offered if file.takes_schemes else [AS_IS]
    idle = [runtime for runtime in asked or [] if runtime not in plan]
    if idle:
        raise ConfigError(f"no file given can be run by {', '.join(idle)}: leave it out of --runtimes.")
    return plan


def _scenarios(how: Measuring, names: Sequence[str]) -> dict[str, ScenarioParams]:
    """The chosen scenarios, the single-stream one first, since others take their load from it."""
    chosen = {name: how.scenarios[name] for name in _known("scenario", names, how.scenarios)}
    single = [name for name, scenario in chosen.items() if scenario.scenario == "SingleStream"]
    if not single:
        raise ConfigError("--scenarios must name a SingleStream scenario (single_stream).")
    return {single[0]: chosen[single[0]], **chosen}


def _known(kind: str, names: Sequence[str], known: Iterable[str]) -> list[str]:
    for name in names:
        if name not in known:
            raise UnknownName(kind, name, known, "'edgeproof list' shows what exists.")
    return list(dict.fromkeys(names))


def _subject(
    runtime: str, chosen: Mapping[Brought, Sequence[str]], data: Data | None, output: str | None, name: str
) -> Subject:
    """Lower each file for the runtime, and say what a session measures of them."""
    root = BUILT / name / runtime
    samples = {
        file.name: adopt.build(file, runtime, schemes, data=data, output=output, out_dir=root / file.name)
        for file, schemes in chosen.items()
    }
    return Subject(name, adopt.task(data), root, samples, score=highest, scorer=Path(__file__))


def _item(
    runtime: str,
    chosen: Mapping[Brought, Sequence[str]],
    how: Measuring,
    scenarios: Mapping[str, ScenarioParams],
    device: Mapping[str, str],
) -> BenchParams:
    """One session of a study's kind: the first scenario in every round, the others once a process."""
    listed = {file.name: list(schemes) for file, schemes in chosen.items()}
    described = {name: scenario.model_dump(mode="json") for name, scenario in scenarios.items()}
    needed = [*how.runtimes[runtime].device_packages, "mlcommons-loadgen", "numpy"]
    content = {
        **how.bench.model_dump(mode="json"),
        **device,
        "runtime": runtime,
        "session": 1,
        "seed": 0,
        "artifacts": listed,
        "seeds": [0],
        "final": listed,
        "every": dict([next(iter(described.items()))]),
        "all": described,
        "quality_target": 0.0,
        "packages": compose.pinned(needed),
    }
    return checked(BenchParams, content, "the session")


def _in_turns(item: BenchParams, subject: Subject) -> tuple[BenchParams, Subject]:
    """The session that compares the first artifact with the others. Raises ConfigError where there is no other."""
    card = cards.card(item.device)
    if card.emulated or card.npu is not None:
        raise ConfigError(
            f"--in-turns compares times, and nobody measures any on '{item.device}': name another --device."
        )
    pairs = [(model, scheme) for model, schemes in item.artifacts.items() for scheme in schemes]
    if len(pairs) < 2:
        raise ConfigError(f"--in-turns compares two artifacts or more: {item.runtime} has {pairs[0][0]} alone.")
    against: dict[str, dict[str, list[str]]] = {}
    for model, scheme in pairs[1:]:
        against.setdefault(model, {})[scheme] = list(pairs[0])
    unlabelled = {model: replace(samples, labels=None) for model, samples in subject.samples.items()}
    changed = item.model_copy(update={"against": against, **interleaved.alone(interleaved.ROUNDS)})
    return changed, replace(subject, samples=unlabelled)


def _table_in_turns(out: Path) -> str:
    text = interleaved.table(out / "records")
    write_text(out / "tables" / "in_turns.md", text)
    return text


def _tables(out: Path, name: str, plan: Plan, device: str) -> str:
    """Write tables below `out` from the records there; the first file in its first scheme is the baseline."""
    models = {file.name: schemes for chosen in plan.values() for file, schemes in chosen.items()}
    baseline, schemes = next(iter(models.items()))
    order = {"devices": [device], "models": list(models), "runtimes": list(plan)}
    found = rows(out / "records", baseline=baseline, baseline_scheme=schemes[0], order=order)
    (out / "tables").mkdir()
    return tables.write_all(out / "tables", found, study=name, baseline=baseline, baseline_scheme=schemes[0])


def _name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise ConfigError(f"--name '{name}' may hold small letters, digits and _ alone.")
    return name
