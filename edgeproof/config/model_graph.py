"""The graph of a study's models: their order, and the network and framework that each model uses."""

from __future__ import annotations

from edgeproof.config.study import ModelEntry, Study
from edgeproof.core import plugins
from edgeproof.core.errors import ConfigError


def sort_by_lineage(study: Study) -> list[str]:
    """Return the models' names with parents and teachers first, and otherwise in the study's order.

    Raises ConfigError for a cycle.
    """
    ordered: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise ConfigError(
                f"models form a cycle: {' → '.join([*path[path.index(name) :], name])}. Change the 'parent' or "
                "'teacher' of one of them."
            )
        entry = study.models[name]
        for predecessor in (entry.parent, *entry.teachers):
            if predecessor is not None:
                visit(predecessor, (*path, name))
        if name not in ordered:
            ordered.append(name)

    for name in study.models:
        visit(name, ())
    return ordered


def find_root(study: Study, name: str) -> ModelEntry:
    """Return the entry of the model that the lineage of `name` starts from: the one that names a network."""
    entry = study.models[name]
    while entry.network is None:
        assert entry.parent is not None
        entry = study.models[entry.parent]
    return entry


def find_network(study: Study, name: str) -> str:
    """Return the name of the network that the lineage of a model starts from."""
    network = find_root(study, name).network
    assert network is not None
    return network


def read_framework(kind: str, name: str) -> str:
    """Return a plugin's framework: the FRAMEWORK in its file, or 'torch'."""
    return str(getattr(plugins.load(kind, name), "FRAMEWORK", "torch"))
