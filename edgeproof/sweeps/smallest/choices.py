"""Values that a search may choose: network, options, teacher, pruning, scheme; and the overrides of a choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import optuna
import yaml
from pydantic import BaseModel

from edgeproof.config.params import TaskParams
from edgeproof.config.task_metric import load_metric
from edgeproof.config.validation import validate
from edgeproof.core import plugins
from edgeproof.sweeps.search_space import ChoiceAxis, SearchSpace

# Models of conf/study/smallest.yaml: the second learns from the first, the third is the second without channels, and
# the last is one of both, trained with weights that are rounded to 4 bits.
TEACHER, STUDENT, SMALL, ROUNDED = "teacher", "student", "small", "rounded"
# The keys of `space` in conf/search/<name>.yaml.
KEYS = ("teacher", "temperature", "hard_weight", "mixup", "ratio", "scheme")
# Keys that only say which model of a candidate is measured, and from which it comes.
HIDDEN_KEYS = tuple(
    f"models.{name}.{key}" for name in (STUDENT, SMALL, ROUNDED) for key in ("runtimes", "final", "parent", "teacher")
)
NO_TEACHER = "none"
NO_PRUNING = 0.0
FLOOR = "quality_floor"
# The largest number in a study. No quality of a metric that is no proportion reaches it.
HUGE = 1e15


def compose_quality_floor(task: TaskParams) -> str:
    """Return the override by which no run is refused for its quality.

    A search has a target of its own. With the floor of the task, a candidate below it would have no figures, although
    it may be the nearest one to the target or on the front.
    """
    metric = load_metric(task.metric)
    lowest, highest = (0.0, 1.0) if metric.is_proportion else (-HUGE, HUGE)
    worst = lowest if metric.better == "more" else highest
    return f"++tasks.{task.name}.{FLOOR}={worst}"


@dataclass(frozen=True)
class Choice:
    """One candidate, with values as overrides write them.

    Attributes:
        options: options of the network that differ from its defaults, by name.
        temperature, hard_weight: options of the distillation, or None without a teacher.
        ratio: the share of channels to remove, or 0.
        mixup: the parameter of mixup's Beta distribution (0 is off), or None for that of the study.
    """

    network: str
    options: tuple[tuple[str, str], ...]
    temperature: str | None
    hard_weight: str | None
    ratio: str
    scheme: str
    mixup: str | None = None

    @property
    def chain(self) -> tuple[str, ...]:
        """The models that are trained one from the other, the measured one last."""
        pruned = () if float(self.ratio) == NO_PRUNING else (SMALL,)
        rounded = (ROUNDED,) if self.scheme.startswith("int4") else ()
        return (STUDENT, *pruned, *rounded)

    @property
    def final_model(self) -> str:
        """The model whose artifact is measured."""
        return self.chain[-1]

    def list_overrides(self) -> tuple[str, ...]:
        """Return the overrides of conf/study/smallest.yaml that give this candidate."""
        words = [f"models.{STUDENT}.network={self.network}"]
        words += [f"++models.{STUDENT}.network_options.{name}={value}" for name, value in self.options]
        if self.temperature is None:
            words += [f"models.{STUDENT}.method=train", f"models.{STUDENT}.teacher=null"]
            words += [f"~models.{STUDENT}.options.{name}" for name in ("temperature", "hard_weight")]
        else:
            words += [f"distill.temperature={self.temperature}", f"distill.hard_weight={self.hard_weight}"]
        if self.mixup is not None:
            words.append(f"++models.{STUDENT}.options.mixup={self.mixup}")
        *parents, final = self.chain
        words += [f"~models.{name}" for name in (SMALL, ROUNDED) if name not in self.chain]
        words += [f"++models.{name}.{key}=[]" for name in parents for key in ("runtimes", "final")]
        words += [f"++models.{final}.runtimes=null"]
        if SMALL in self.chain:
            words += [f"prune.ratio={self.ratio}"]
        if final == ROUNDED:
            words += [f"models.{ROUNDED}.parent={parents[-1]}"]
        return (*words, f"++models.{final}.schemes=[{self.scheme}]", f"++models.{final}.final=[{self.scheme}]")

    def describe(self) -> str:
        """Return the candidate as short text."""
        parts = [self.network, *(f"{name}={value}" for name, value in self.options)]
        if self.temperature is None:
            parts.append("no teacher")
        else:
            parts.append(f"temperature={self.temperature} hard_weight={self.hard_weight}")
        mixup = [] if self.mixup is None else [f"mixup={self.mixup}"]
        return " ".join([*parts, *mixup, f"ratio={self.ratio}", self.scheme])


@dataclass(frozen=True)
class ChoiceSpace:
    """The values of each key, and for each network those of its options.

    Attributes:
        defaults: the default options of each network.
        has_teacher: False for a task that cannot be distilled.
        has_mixup: False if mixup is not varied, or if the task's inputs or labels cannot be averaged.
    """

    networks: Mapping[str, SearchSpace]
    defaults: Mapping[str, Mapping[str, Any]]
    keys: SearchSpace
    has_teacher: bool
    has_mixup: bool

    def suggest(self, trial: optuna.Trial) -> Choice:
        """Let a trial choose a candidate. A network's options are asked for only if it is chosen."""
        network = ChoiceAxis(tuple(self.networks)).suggest(trial, "network")
        options = [(name, axis.suggest(trial, f"{network}.{name}")) for name, axis in self.networks[network].items()]
        is_taught = self.has_teacher and self.keys["teacher"].suggest(trial, "teacher") != NO_TEACHER
        return Choice(
            network=network,
            options=tuple(options),
            temperature=self.keys["temperature"].suggest(trial, "temperature") if is_taught else None,
            hard_weight=self.keys["hard_weight"].suggest(trial, "hard_weight") if is_taught else None,
            ratio=self.keys["ratio"].suggest(trial, "ratio"),
            scheme=self.keys["scheme"].suggest(trial, "scheme"),
            mixup=self.keys["mixup"].suggest(trial, "mixup") if self.has_mixup else None,
        )

    def fill_options(self, choice: Choice) -> dict[str, Any]:
        """Return all options of a candidate's network, with defaults, as params.yaml has them. Raises ConfigError."""
        given = {name: yaml.safe_load(value) for name, value in choice.options}
        where = f"conf/networks/{choice.network}.yaml, search"
        model = plugins.load("networks", choice.network).Options
        checked: BaseModel = validate(model, {**self.defaults[choice.network], **given}, where)
        return checked.model_dump(mode="json")

    def check_options(self) -> None:
        """Check every end of every range of the networks' options. Raises ConfigError."""
        plain = self.list_probes()[0]
        for network, space in self.networks.items():
            for name, axis in space.items():
                for value in axis.list_probe_values():
                    self.fill_options(replace(plain, network=network, options=((name, value),)))

    def list_probes(self) -> list[Choice]:
        """Return candidates that together have every network and every end of the other keys' ranges."""
        first = {key: axis.list_probe_values()[0] for key, axis in self.keys.items()}
        taught = {name: first[name] if self.has_teacher else None for name in ("temperature", "hard_weight")}
        options = {
            network: tuple((name, axis.list_probe_values()[0]) for name, axis in space.items())
            for network, space in self.networks.items()
        }
        mixup = first["mixup"] if self.has_mixup else None
        probes = [
            Choice(network, options[network], ratio=first["ratio"], scheme=first["scheme"], mixup=mixup, **taught)
            for network in self.networks
        ]
        optional = ("mixup",) if self.has_mixup else ()
        for key in ("ratio", "scheme", *optional, *(name for name, value in taught.items() if value is not None)):
            changes: list[dict[str, Any]] = [{key: value} for value in self.keys[key].list_probe_values()[1:]]
            probes += [replace(probes[0], **change) for change in changes]
        if self.has_teacher:
            probes.append(replace(probes[0], temperature=None, hard_weight=None))
        return probes
