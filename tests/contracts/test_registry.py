"""One file + one YAML: every plugin file has its definition, and every definition its file."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from edgeproof.config import cards, compose
from edgeproof.config.params import FAMILIES
from edgeproof.core import plugins

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", ["tasks", "networks", "methods", "runtimes"])
def test_every_plugin_has_a_definition_of_its_name_and_the_other_way_round(kind: str) -> None:
    assert plugins.names(kind) == sorted(path.stem for path in (ROOT / "conf" / kind).glob("*.yaml"))


@pytest.mark.parametrize("kind", ["networks", "methods"])
def test_every_definition_gives_its_options_valid_defaults(kind: str) -> None:
    for name in plugins.names(kind):
        definition = yaml.safe_load((ROOT / "conf" / kind / f"{name}.yaml").read_text())
        options = plugins.load(kind, name).Options
        assert set(definition["options"]) == set(options.model_fields)
        options.model_validate(definition["options"])


@pytest.mark.parametrize("study", compose.studies(ROOT / "conf"))
def test_every_study_composes_and_has_no_more_stages_than_dvc_can_take(
    study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    params = compose.compose(study)
    assert params.study == study
    stages = sum(len(getattr(params, family)) for family in (*FAMILIES, "export", "bench"))
    # DVC parses params.yaml once a stage: with 147 stages a run that does nothing takes 27 s, and no study should have
    # its user wait for half a minute.
    assert 10 < stages <= (150 if study.startswith("techniques") else 30)


def test_every_card_is_valid_and_names_a_transport_that_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert "local" in cards.names()
    for name in cards.names():
        assert cards.card(name).transport in plugins.names("transports")
