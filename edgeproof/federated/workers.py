"""The places where clients train: this process, processes of this machine, a Ray cluster, or registered devices.

Each returns the answers in the order of the jobs, and holds a few of them at a time. They give the same bits, because a
client's result depends on its job alone.

    EDGEPROOF_FEDERATED_WORKERS=4        four processes of this machine
    EDGEPROOF_FEDERATED_RAY=local        Ray on this machine, or the address of a cluster
    EDGEPROOF_FEDERATED_DEVICES=pi,desk  devices that have a card
"""

from __future__ import annotations

import copy
import importlib
import logging
import os
import secrets
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from edgeproof.core.errors import ConfigError, summarize_error
from edgeproof.federated.client import ClientJob, ClientResult, train_client
from edgeproof.federated.settings import Settings

WORKERS, RAY = "EDGEPROOF_FEDERATED_WORKERS", "EDGEPROOF_FEDERATED_RAY"
DEVICES = "EDGEPROOF_FEDERATED_DEVICES"
LOCAL = "local"
MAX_WORKERS = 1024
# It is imported by name, because no model depends on it: an edit to a transport must train nothing again.
_DEVICE_POOL = "edgeproof.devices.clients.pool"
# Plugins outside of edgeproof are loaded from files, so that other processes can't import them by name.
_PLUGINS = "edgeproof_plugins."

# A result of None stands for a client that was lost.
RunClients = Callable[[nn.Module, Iterator[ClientJob], Settings], Iterator[ClientResult | None]]


@contextmanager
def open_workers(note: Callable[[str], None], environment: Mapping[str, str] = os.environ) -> Iterator[RunClients]:
    """Yield the place that the environment names, and leave it tidy afterwards. `note` prints a line for the user.

    Raises ConfigError for a wrong value, and DeviceError for a device that can't train.
    """
    if not (text := environment.get(DEVICES, "")):
        yield choose_workers(environment)
        return
    others = [name for name in (WORKERS, RAY) if environment.get(name)]
    if others:
        raise ConfigError(f"{DEVICES} and {others[0]} are both set. Set one of them.")
    names = [name.strip() for name in text.split(",")]
    if "" in names or len(set(names)) < len(names):
        raise ConfigError(f"{DEVICES} is '{text}'. It must be names of devices, each once, such as 'local,pi'.")
    with importlib.import_module(_DEVICE_POOL).open_devices(names, note) as run_clients:
        yield run_clients


def choose_workers(environment: Mapping[str, str] = os.environ) -> RunClients:
    """Return the place other than devices that the environment names, or else this process.

    Raises ConfigError for a wrong value.
    """
    text = environment.get(WORKERS, "")
    if text and not (text.isdigit() and 1 <= int(text) <= MAX_WORKERS):
        raise ConfigError(f"{WORKERS} is '{text}'. It must be a number of processes from 1 to {MAX_WORKERS}.")
    workers = int(text or 1)
    if address := environment.get(RAY):
        return connect_ray(None if address == LOCAL else address, workers)
    return run_here if workers == 1 else lambda *arguments: run_in_processes(*arguments, workers=workers)


def run_here(module: nn.Module, jobs: Iterator[ClientJob], settings: Settings) -> Iterator[ClientResult | None]:
    """Train one client after another in this process."""
    scratch = copy.deepcopy(module)
    for job in jobs:
        yield train_client(scratch, job, settings)


def run_in_processes(
    module: nn.Module, jobs: Iterator[ClientJob], settings: Settings, *, workers: int
) -> Iterator[ClientResult | None]:
    """Train clients in several processes of this machine."""
    import cloudpickle
    import joblib

    _send_plugins(cloudpickle)
    parallel = joblib.Parallel(
        n_jobs=workers, return_as="generator", pre_dispatch=2 * workers, batch_size=1, max_nbytes=None
    )
    results: Iterator[ClientResult | None] = parallel(
        joblib.delayed(train_client)(module, job, settings) for job in jobs
    )
    return results


def connect_ray(address: str | None, workers: int) -> RunClients:
    """Connect to the Ray cluster at `address`, or start one on this machine. Raises ConfigError if there is none.

    The hosts of a cluster need torch and numpy in the locked versions. They get edgeproof's code from here.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None:  # the token keeps other users of this machine out
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    try:
        import ray  # it reads the environment when it is imported
    except ModuleNotFoundError:
        raise ConfigError(f"{RAY} needs the Python module 'ray'. Run 'make setup' to install it.") from None
    if not ray.is_initialized():
        local: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        remote = {"address": address, "runtime_env": {"py_modules": [str(Path(__file__).parents[1])]}}
        try:
            ray.init(**(local if address is None else remote), log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            place = "on this machine" if address is None else f"at '{address}'"
            raise ConfigError(f"no Ray cluster answers {place}: {summarize_error(error)}") from None
    _send_plugins(ray.cloudpickle)
    return lambda *arguments: run_on_ray(ray, *arguments)


def run_on_ray(
    ray: ModuleType, module: nn.Module, jobs: Iterator[ClientJob], settings: Settings
) -> Iterator[ClientResult | None]:
    """Train clients as Ray tasks of one processor for each thread. A task of a lost host runs again elsewhere."""
    train = ray.remote(num_cpus=settings.threads)(train_client)
    shared = ray.put(module)
    window = max(2, 2 * int(ray.cluster_resources().get("CPU", 1)) // settings.threads)
    running = deque(train.remote(shared, job, settings) for job in islice(jobs, window))
    while running:
        try:
            yield ray.get(running.popleft())
        except ray.exceptions.RayError as error:
            last = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise ConfigError(
                f"a client could not be trained on Ray: {last} Run the same command again: it goes on with this round."
            ) from None
        running.extend(train.remote(shared, job, settings) for job in islice(jobs, 1))


def _send_plugins(cloudpickle: ModuleType) -> None:
    """Send plugins to other processes as code, not by name."""
    for name, module in list(sys.modules.items()):
        if name.startswith(_PLUGINS):
            cloudpickle.register_pickle_by_value(module)
