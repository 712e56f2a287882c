"""Hydra's launchers: they run the points of a sweep in other processes or on other machines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from edgeproof.cli.hydra_points import HYDRA_SETTINGS, LOCAL_LAUNCHER, NO_HYDRA_LOGS, run_hydra
from edgeproof.cli.output import show
from edgeproof.config import compose as config_compose
from edgeproof.core.errors import UnknownNameError
from edgeproof.sweeps import local_executor
from edgeproof.sweeps.store import SweepStore
from edgeproof.sweeps.sweep import Launcher

POINT_CONFIG = "edgeproof_points"
LAUNCHER_PACKAGES = {
    "joblib": "hydra-joblib-launcher",
    "ray": "hydra-ray-launcher",
    "ray_aws": "hydra-ray-launcher",
    "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
}
MAX_SHOWN_CHARACTERS = 300


def find_launcher(words: Sequence[str]) -> Launcher | None:
    """Return a function that runs points with the given Hydra launcher, or None for this machine.

    Raises UnknownNameError for an unknown launcher and ConfigError for invalid options of it.
    """
    chosen = next((word.partition("=")[2] for word in words if word.startswith("hydra/launcher=")), LOCAL_LAUNCHER)
    known = [name.removesuffix(".yaml") for name in ConfigStore.instance().list("hydra/launcher")]
    if chosen not in known:
        package = LAUNCHER_PACKAGES.get(chosen)
        cure = f"Install it with 'pip install {package}'." if package else "Launchers are Hydra plugins."
        raise UnknownNameError("launcher", chosen, known, cure)
    if chosen == LOCAL_LAUNCHER:
        return None
    _register_point_config("")
    with config_compose.raise_config_errors(words), hydra.initialize(version_base="1.3", config_path=None):
        hydra.compose(POINT_CONFIG, [*words, "point=p"], return_hydra_config=True)

    def launch(store: SweepStore, digests: Sequence[str]) -> None:
        if digests:
            _register_point_config(store.name)
            # A digest may look like a number. Hydra reads it as text only with a letter before it.
            points = ",".join(f"p{digest}" for digest in digests)
            try:
                run_hydra(run_point, None, POINT_CONFIG, ["--multirun", *words, f"point={points}"])
            except Exception as error:
                message = " ".join(f"{type(error).__name__}: {error}".split())[:MAX_SHOWN_CHARACTERS]
                show(f"launcher '{chosen}' failed ({message}). Finished points are kept; run the command again.")

    return launch


def _register_point_config(sweep: str) -> None:
    """Register the configuration of a launcher's jobs."""
    node = {"root": str(Path.cwd()), "sweep": sweep, "point": "???"}
    content = {"defaults": [*NO_HYDRA_LOGS, "_self_"], "hydra": HYDRA_SETTINGS, **node}
    ConfigStore.instance().store(POINT_CONFIG, content)


def run_point(content: DictConfig) -> None:
    """Run one point as the job of a Hydra launcher, in a process of its own.

    A failed point becomes a row of the sweep's table and raises nothing.
    """
    os.chdir(content.root)
    local_executor.run_point(SweepStore(content.sweep), content.point[1:])
