"""Compose a study from conf/ with Hydra, then check it and expand it into the params of its stages.

Tasks, networks, methods, runtimes and scenarios are read as whole directories: a new file there needs no registration,
and every key of every definition can be overridden in Hydra's grammar, such as methods.distill.options.temperature=2.
"""

from __future__ import annotations

import functools
import io
import shutil
import tempfile
import threading
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

from edgeproof.config.conf_files import check_conf_files, list_conf_directories, list_conf_names
from edgeproof.config.expansion import expand
from edgeproof.config.params import Params
from edgeproof.config.study import BenchSettings, Study
from edgeproof.config.validation import validate
from edgeproof.config.yaml_file import read_yaml
from edgeproof.core.errors import ConfigError, UnknownNameError

CONF = Path("conf")
ROOT = "edgeproof_root"
MAX_MESSAGE_LINES = 60
MAX_MESSAGE_CHARACTERS = 2000
# Lines of Hydra's messages that describe its internals.
INTERNAL_LINES = ("full_key", "object_type", "reference_type", "Config search")
LIBRARIES = ("tasks", "networks", "methods", "runtimes", "scenarios")


# Hydra keeps its state in globals, so only one thread may compose at a time.
_HYDRA_LOCK = threading.Lock()


def list_studies(conf: Path = CONF) -> list[str]:
    """Return the names of all studies: in conf/study, in plugin directories, and those that edgeproof ships."""
    return list_conf_names("study", conf)


def read_default_study(conf: Path = CONF) -> str:
    """Return the name of the study in the defaults of conf/config.yaml. Raises ConfigError when there is none."""
    path = conf / "config.yaml"
    content = read_yaml(path)
    defaults = content.get("defaults") if isinstance(content, dict) else None
    for entry in defaults if isinstance(defaults, list) else []:
        if isinstance(entry, dict) and "study" in entry:
            return str(entry["study"])
    raise ConfigError(f"{path} names no default study. Add one to its 'defaults', such as '- study: digits'.")


def compose(study: str | None = None, overrides: Sequence[str] = (), conf: Path = CONF) -> Params:
    """Compose a study (None: the default study) with Hydra overrides into checked params. Raises ConfigError."""
    return expand(_validate_study(_compose_study(study, overrides, conf), study, conf))


def compose_content(overrides: Sequence[str], conf: Path = CONF) -> dict[str, Any]:
    """Compose the default study with Hydra overrides into plain values, which are not checked. Raises ConfigError."""
    return _compose_study(None, overrides, conf)


def list_study_devices(study: str | None = None, conf: Path = CONF) -> list[str]:
    """Return the names of a study's devices (None: of the default study). Their cards are not read.

    Raises ConfigError when conf/ cannot be composed. A study with no list of devices gives an empty list.
    """
    bench = _compose_study(study, (), conf).get("bench")
    devices = bench.get("devices") if isinstance(bench, dict) else None
    return [str(name) for name in devices] if isinstance(devices, list) else []


def expand_composed(composed: DictConfig, other_keys: Collection[str] = ()) -> tuple[Params, dict[str, Any]]:
    """Return the checked params of a composition, and the values of `other_keys`, which don't belong to the study.

    Raises ConfigError.
    """
    with raise_config_errors(()):
        content = _to_dict(composed)
    other_values = {key: content.pop(key) for key in other_keys if key in content}
    return expand(_validate_study(content, None, CONF)), other_values


def compose_bench_settings(preset: str, conf: Path = CONF) -> BenchSettings:
    """Compose a preset without a study. Raises UnknownNameError or ConfigError."""
    known = list_conf_names("preset", conf)
    if preset not in known:
        raise UnknownNameError("preset", preset, known, f"To add one: {conf}/preset/{preset}.yaml.")
    content = _run_hydra(("scenarios", "runtimes"), {"preset": preset}, (), conf)
    return validate(BenchSettings, content, f"{conf}/preset/{preset}.yaml (composed)")


@contextmanager
def raise_config_errors(overrides: Sequence[str], conf: Path = CONF) -> Iterator[None]:
    """Turn the errors of Hydra, of OmegaConf and of reading conf/ into a ConfigError that shows the overrides.

    Hydra passes on Python's errors for some overrides, such as a number of ten thousand digits.
    """
    try:
        yield
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, ValueError, RecursionError) as error:
        raise ConfigError(_explain_hydra_error(error, overrides, conf)) from None


@contextmanager
def merge_conf_directories(conf: Path = CONF) -> Iterator[Path]:
    """Yield conf/ itself, or a temporary directory in which all directories of configuration are merged."""
    directories = list_conf_directories(conf)
    if len(directories) == 1:
        yield conf.resolve()
        return
    with tempfile.TemporaryDirectory() as scratch:
        merged = Path(scratch) / "conf"
        for directory in directories:
            shutil.copytree(directory, merged, dirs_exist_ok=True)
        yield merged


def register_definitions(
    directory: Path, libraries: Sequence[str] = LIBRARIES, root: str | Mapping[str, str] = "config"
) -> None:
    """Register a Hydra config ROOT that holds all definitions of the libraries, with `root` composed over them.

    The definitions are not listed as Hydra defaults, because each default adds 20 ms to a composition.
    """
    definitions = {
        library: {
            path.stem: _load_definition(path.read_bytes()) for path in sorted((directory / library).glob("*.yaml"))
        }
        for library in libraries
    }
    ConfigStore.instance().store(ROOT, {"defaults": ["_self_", root], **definitions})


@functools.lru_cache(maxsize=200)
def _load_definition(content: bytes) -> Any:
    """Return the plain values of a file with this content. It is parsed once, because sweeps compose often."""
    return OmegaConf.to_container(OmegaConf.load(io.StringIO(content.decode("utf-8"))), resolve=False)


def _compose_study(study: str | None, overrides: Sequence[str], conf: Path) -> dict[str, Any]:
    if study is not None and study not in list_studies(conf):
        raise UnknownNameError("study", study, list_studies(conf), f"To add one: {conf}/study/{study}.yaml.")
    choice = [f"study={study}"] if study is not None else []
    return _run_hydra(LIBRARIES, "config", [*choice, *overrides], conf)


def _run_hydra(
    libraries: Sequence[str], root: str | Mapping[str, str], overrides: Sequence[str], conf: Path
) -> dict[str, Any]:
    check_conf_files(list_conf_directories(conf), libraries, overrides if isinstance(root, str) else root.values())
    with _HYDRA_LOCK, raise_config_errors(overrides, conf), merge_conf_directories(conf) as directory:
        register_definitions(directory, libraries, root)
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(directory), version_base="1.3", job_name="edgeproof"):
            return _to_dict(hydra_compose(ROOT, list(overrides)))


def _to_dict(composed: DictConfig) -> dict[str, Any]:
    content = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def _explain_hydra_error(error: Exception, overrides: Sequence[str], conf: Path) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = _shorten(" ".join([line for line in lines if not line.startswith(INTERNAL_LINES)][:MAX_MESSAGE_LINES]))
    cause = error.__cause__
    if cause is not None and str(cause) not in text:
        text += " " + " ".join(str(cause).splitlines()[:1])
    given = f" Overrides: {_shorten(' '.join(overrides))}." if overrides else ""
    return f"could not compose {conf}/: {text}.{given} To see every key: edgeproof compose --print"


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else f"{text[:MAX_MESSAGE_CHARACTERS]}…"


def _validate_study(content: dict[str, Any], study: str | None, conf: Path) -> Study:
    return validate(Study, content, f"{conf}/study/{content.get('study', study)}.yaml (composed)")
