"""The parameters of a farm's run, which are stored with it: a run goes on with those with which it has started."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from edgeproof.config import compose, params_file
from edgeproof.config.cards import CARDS
from edgeproof.config.file_names import check_file_name
from edgeproof.config.params import Params
from edgeproof.core.errors import ConfigError
from edgeproof.farm.engines import FARM, PARAMS
from edgeproof.paths import ARTIFACTS
from edgeproof.study import repro, worktrees

RUN_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def check_run_name(name: str) -> str:
    """Return the name of a run. Raises ConfigError for a name that is not allowed."""
    check_file_name("run", name)
    if not RUN_NAME.fullmatch(name):
        raise ConfigError(f"'{name}' is not a valid name of a run. Use small letters, digits, '_' and '-'.")
    return name


def prepare_run(
    study: str | None, devices: Sequence[str] | None, name: str, left_out: Collection[str] = ()
) -> tuple[Params, Path]:
    """Compose the parameters of a run and store them with it. Return them and the directory of the built study.

    Args:
        study: name of the study, or None for the default one.
        devices: the devices to measure, or None for the study's own.
        name: name of the run. A date becomes the session's number.
        left_out: devices whose cards are wrong. The run may have started with them, and may go on with them later.

    Raises ConfigError when the study is not built, or a run of this name has started with other parameters.
    """
    number = int(name.replace("-", "")) if name.replace("-", "").isdigit() else 0
    overrides = [f"bench.session={number}"] if number else []
    if devices is not None:
        overrides.append(f"bench.devices=[{','.join(devices)}]")
    params = compose.compose(study, overrides)
    built = repro.locate_study(params)
    if not (built / ARTIFACTS).is_dir():
        raise ConfigError(f"the study '{params.study}' is not built. Run 'edgeproof repro {params.study}' first.")
    path = FARM / name / PARAMS
    started = params_file.read_params(path) if path.is_file() else None
    if started is not None and not _continues(started, params, left_out):
        raise ConfigError(f"the run '{name}' has started with other parameters ({path}). Choose another --name.")
    if built != Path():  # the study's worktree may have older cards
        shutil.copytree(CARDS, built / CARDS, dirs_exist_ok=True)
        worktrees.copy_ssh_configs(built)
    path.parent.mkdir(parents=True, exist_ok=True)
    if started is None or started.bench.keys() <= params.bench.keys():
        params_file.write_params(params, f"farm run {name}", path)
    return params, built


def _continues(started: Params, params: Params, left_out: Collection[str]) -> bool:
    """Return True if a run that started with some parameters may go on with others: only devices come or are left out.

    A device comes back after its card was repaired, and is left out after its card was broken.
    """
    gone = {started.bench[key].device for key in started.bench.keys() - params.bench.keys()}
    common = started.bench.keys() & params.bench.keys()
    same_devices = {"bench": {}, "report": params.report.model_copy(update={"devices": []})}
    started_rest = started.model_copy(update={"bench": {}, "report": started.report.model_copy(update={"devices": []})})
    return (
        gone <= set(left_out)
        and all(started.bench[key] == params.bench[key] for key in common)
        and started_rest == params.model_copy(update=same_devices)
    )
