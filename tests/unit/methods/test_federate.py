"""The method federate: its facts, its partitions, its messages, and the state that it keeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.federated import client_quality
from edgeproof.federated.history import Round
from edgeproof.methods import federate
from edgeproof.models.training_task import TrainingTask
from tests.support.federations import build_module, list_bits, make_task

pytestmark = pytest.mark.usefixtures("restore_torch_settings")
OPTIONS = {"clients": 4, "rounds": 3, "local_epochs": 1, "batch_size": 8, "learning_rate": 0.1}


@pytest.fixture(autouse=True)
def work_in_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGEPROOF_FEDERATED_WORKERS", raising=False)
    monkeypatch.delenv("EDGEPROOF_FEDERATED_RAY", raising=False)
    monkeypatch.delenv("EDGEPROOF_FEDERATED_DEVICES", raising=False)


def run(task: TrainingTask | None = None, **options: Any) -> tuple[nn.Module, dict[str, Any]]:
    facts: dict[str, Any] = {}
    task = replace(task or make_task(), report=facts.__setitem__)
    return federate.apply(build_module(), task, **OPTIONS | options), facts.get("federated", {})


def test_the_facts_are_rounds_bytes_and_the_quality_at_the_clients() -> None:
    module, facts = run()
    assert (facts["rounds"], facts["clients"], facts["used"], facts["measured_clients"]) == (3, 4, 12, 4)
    assert facts["bytes_up"] == facts["bytes_down"] == 12 * (24 + 4 * sum(p.numel() for p in module.parameters()))
    assert facts["curve"]["round"] == [1, 2, 3]
    assert 0 <= facts["client_quality_worst_tenth"] <= facts["client_quality_mean"] <= 1
    assert "epsilon" not in facts


def test_another_seed_gives_another_partition_and_other_weights_and_the_same_seed_the_same() -> None:
    bits = [list_bits(run(make_task(seed=seed))[0]) for seed in (0, 0, 1)]
    assert bits[0] == bits[1] != bits[2]


def test_workers_of_the_environment_do_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    here, facts = run()
    monkeypatch.setenv("EDGEPROOF_FEDERATED_WORKERS", "2")
    there, again = run()
    assert list_bits(here) == list_bits(there)
    assert facts == again


@pytest.mark.parametrize("text", ["0", "two", "-1", "99999"])
def test_a_wrong_number_of_workers_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROOF_FEDERATED_WORKERS", text)
    with pytest.raises(ConfigError, match=f"EDGEPROOF_FEDERATED_WORKERS is '{text}'. It must be a number"):
        run()


def test_devices_of_the_environment_must_have_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROOF_FEDERATED_DEVICES", "pi")
    with pytest.raises(ConfigError, match="unknown device 'pi'"):
        run()


def test_the_state_of_a_run_is_kept_until_it_ends_and_belongs_to_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = run()
    assert not federate.STATES.exists()

    def stop(entry: Round) -> None:
        if entry.number == 2:
            raise KeyboardInterrupt

    original = federate.run_rounds
    with monkeypatch.context() as patch:
        patch.setattr(federate, "run_rounds", lambda *a, after_round, **k: original(*a, after_round=stop, **k))
        with pytest.raises(KeyboardInterrupt):
            run()
    (state,) = federate.STATES.iterdir()
    run(learning_rate=0.2)
    assert [path.name for path in federate.STATES.iterdir()] == [state.name]
    trained: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(
            federate,
            "run_rounds",
            lambda *a, after_round, **k: original(*a, after_round=lambda entry: trained.append(entry.number), **k),
        )
        resumed, _ = run()
    assert trained == [3]
    assert list_bits(resumed) == list_bits(whole)
    assert not federate.STATES.exists()


def test_a_state_belongs_to_the_code_of_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "networks" / "mine.py"
    source.parent.mkdir()
    monkeypatch.setenv("EDGEPROOF_PLUGINS", str(tmp_path))
    task, options = replace(make_task(), network={"name": "mine"}), federate.Options.model_validate(OPTIONS)
    hashes = []
    for text in ("first = 1", "second = 2", "first = 1"):
        source.write_text(text)
        hashes.append(federate.hash_start(build_module(), task, options))
    assert hashes[0] == hashes[2] != hashes[1]


def test_groups_stay_whole_and_need_a_task_that_knows_them() -> None:
    groups = np.arange(48) % 6
    options = federate.Options.model_validate({**OPTIONS, "partition": "group", "clients": 3})
    shares = federate.draw_shares(options, make_task(groups=groups))
    assert sorted(len(set(groups[share].tolist())) for share in shares) == [2, 2, 2]
    with pytest.raises(
        ConfigError, match=r"task 'task' does not say\. Use iid, dirichlet or labels, or a task with groups"
    ):
        run(partition="group")


def test_labels_need_a_classification() -> None:
    with pytest.raises(ConfigError, match="partition: dirichlet needs labels, and task 'task' is no classification"):
        run(make_task(is_classification=False), partition="dirichlet")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": -1}, "alpha"),
        ({"clients": 0}, "clients"),
        ({"fraction": 0.0}, "fraction"),
        ({"strategy": "fedsgd"}, "'fedavg', 'fedprox', 'fedavgm' or 'fedadam'"),
        ({"average_rounds": 1000}, "average_rounds is 1000, but there are only"),
        ({"clip_norm": 1.0}, "clip_norm needs weighting: uniform"),
        ({"clip_norm": 1.0, "weighting": "uniform", "noise": 0}, "epsilon is infinite without noise"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        run(**options)


def test_more_clients_than_samples_are_refused() -> None:
    with pytest.raises(ConfigError, match="49 clients can't share 48 training samples"):
        run(clients=49)


def test_privacy_reports_epsilon() -> None:
    pytest.importorskip("opacus", reason="an extra: pip install 'edgeproof[federated]'")
    _, facts = run(clip_norm=1.0, noise=2.0, weighting="uniform")
    assert 0 < facts["epsilon"] < 10
    assert facts["delta"] == 1e-5


def test_a_tenth_of_each_clients_samples_is_held_back_and_never_trained_on() -> None:
    shares = [np.arange(20), np.arange(20, 23), np.array([30])]
    trained, measured = client_quality.hold_back(shares, 0.1, np.random.default_rng(0))
    assert [len(rows) for rows in measured] == [2, 1, 0]
    for share, used, held in zip(shares, trained, measured, strict=True):
        assert sorted([*used, *held]) == share.tolist()
    assert [len(rows) for rows in client_quality.hold_back(shares, 0.0, np.random.default_rng(0))[1]] == [0, 0, 0]


def test_the_worst_tenth_is_the_mean_of_the_worst_clients() -> None:
    qualities = [float(n) for n in range(1, 26)]
    assert client_quality.average_worst_tenth(qualities, "more") == 2.0
    assert client_quality.average_worst_tenth(qualities, "less") == 24.0
    assert client_quality.average_worst_tenth([0.7], "more") == 0.7


def test_zeros_of_a_parent_stay_zero() -> None:
    module = build_module()
    with torch.no_grad():
        module[0].weight[:, ::2] = 0  # type: ignore[index,union-attr,operator]
    trained = federate.apply(module, make_task(from_parent=True), **OPTIONS)
    assert (trained[0].weight[:, ::2] == 0).all()  # type: ignore[index,union-attr,operator]
