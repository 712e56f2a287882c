"""Every plugin file has a definition in conf/, every definition has a plugin file, and every study composes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from edgeproof.config import cards, compose
from edgeproof.config.params import MODEL_STAGES
from edgeproof.core import plugins

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", ["tasks", "networks", "methods", "runtimes"])
def test_every_plugin_has_a_definition_and_every_definition_a_plugin(kind: str) -> None:
    definitions = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "conf" / kind).glob("*.yaml")}
    # A task of the user's own data has a kind and no file.
    assert plugins.list_names(kind) == sorted(name for name, content in definitions.items() if "kind" not in content)


@pytest.mark.parametrize("kind", ["networks", "methods"])
def test_every_definition_has_valid_defaults_for_all_options(kind: str) -> None:
    for name in plugins.list_names(kind):
        definition = yaml.safe_load((ROOT / "conf" / kind / f"{name}.yaml").read_text())
        options = plugins.load(kind, name).Options
        assert set(definition["options"]) == set(options.model_fields)
        options.model_validate(definition["options"])


# Studies of few models. All others have more than 10 stages.
FEWEST_STAGES = {
    "smallest": 5,
    "smallest_keyword_spotting": 6,
    "cifar10_4bit": 4,
    "cifar10_25kb": 4,
    "fashion_mnist_4bit": 4,
}


@pytest.mark.parametrize("study", compose.list_studies(ROOT / "conf"))
def test_every_study_composes_into_few_enough_stages_for_dvc(study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    params = compose.compose(study)
    assert params.study == study
    stages = sum(len(getattr(params, stage)) for stage in (*MODEL_STAGES, "export", "bench"))
    # DVC parses params.yaml once per stage: with 147 stages a run that has nothing to do takes 27 s.
    assert FEWEST_STAGES.get(study, 10) < stages <= (150 if study.startswith("techniques") else 30)


def test_every_device_card_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert "local" in cards.list_names()
    for name in cards.list_names():
        assert cards.read(name).transport in plugins.list_names("transports")
