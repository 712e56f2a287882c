"""Rounds: independent truths about averages, missing clients, resuming, and identical bits everywhere."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeproof.core.errors import ArtifactError, ConfigError
from edgeproof.federated import partitions
from edgeproof.federated.checkpoints import Checkpoints
from edgeproof.federated.client import ClientJob, ClientResult, train_client
from edgeproof.federated.history import Round, list_curve, sum_rounds
from edgeproof.federated.messages import Update, encode_update
from edgeproof.federated.participation import draw_participation
from edgeproof.federated.rounds import Federation, run_rounds
from edgeproof.federated.settings import Compression, LocalTraining, ServerStep, Settings
from edgeproof.federated.weights import Layout
from edgeproof.federated.workers import RunClients, run_here, run_in_processes
from tests.support.federations import (
    FEATURES,
    SAMPLES,
    build_module,
    list_bits,
    make_federation,
    make_settings,
    make_task,
)

pytestmark = pytest.mark.usefixtures("restore_torch_settings")
FULL_BATCH = LocalTraining(epochs=1, batch_size=SAMPLES, learning_rate=0.3)
EVERYTHING = {
    "with_statistics": True,
    "fraction": 0.75,
    "dropped": 0.2,
    "late": 0.2,
    "compression": Compression("top_k", 0.2),
    "step": ServerStep("fedadam", 0.05),
    "rounds": 5,
    "average_rounds": 2,
}


def run(federation: Federation, run_clients: RunClients = run_here, directory: Path | None = None) -> tuple[Round, ...]:
    return run_rounds(federation, run_clients, Checkpoints(directory))


def without_dropout(federation: Federation) -> Federation:
    federation.module[2] = nn.Identity()  # type: ignore[index]
    return federation


def take_gradient_step(module: nn.Module, x: torch.Tensor, y: torch.Tensor, rate: float) -> None:
    nn.functional.cross_entropy(module(x), y).backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in module.parameters():
            parameter -= rate * parameter.grad
            parameter.grad = None


def test_one_full_batch_step_of_all_clients_is_a_central_gradient_step() -> None:
    # Shares of different sizes: weighting by samples gives the gradient of the mean over all samples.
    federation = without_dropout(make_federation(rounds=2, local=FULL_BATCH))
    shares = np.split(np.random.default_rng(1).permutation(SAMPLES), [5, 30])
    central = without_dropout(make_federation()).module
    run(dataclasses.replace(federation, shares=shares))
    for _ in range(2):
        take_gradient_step(central, federation.task.train.inputs[0], federation.task.train.targets, 0.3)
    for ours, theirs in zip(federation.module.parameters(), central.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_uniform_weighting_averages_the_clients_models() -> None:
    federation = without_dropout(make_federation(rounds=1, local=FULL_BATCH, weighting="uniform"))
    shares = np.split(np.arange(SAMPLES), [5, 30])
    models = [without_dropout(make_federation()).module for _ in shares]
    for model, share in zip(models, shares, strict=True):
        rows = torch.from_numpy(share)
        take_gradient_step(model, federation.task.train.inputs[0][rows], federation.task.train.targets[rows], 0.3)
    run(dataclasses.replace(federation, shares=shares))
    for name, value in federation.module.named_parameters():
        mean = sum(dict(model.named_parameters())[name].detach() for model in models) / 3
        torch.testing.assert_close(value.detach(), mean, rtol=0, atol=1e-6)


def test_the_proximal_term_adds_its_gradient() -> None:
    """After k full-batch steps, FedProx equals gradient steps on loss + μ/2 · ‖w − w₀‖²."""
    local = LocalTraining(epochs=3, batch_size=SAMPLES, learning_rate=0.2, proximal=0.7)
    federation = without_dropout(make_federation(1, rounds=1, local=local))
    central = without_dropout(make_federation()).module
    start = [p.detach().clone() for p in central.parameters()]
    x, y = federation.task.train.inputs[0], federation.task.train.targets
    for _ in range(3):
        distance = sum((p - anchor).square().sum() for p, anchor in zip(central.parameters(), start, strict=True))
        (nn.functional.cross_entropy(central(x), y) + 0.35 * distance).backward()
        with torch.no_grad():
            for parameter in central.parameters():
                parameter -= 0.2 * parameter.grad
                parameter.grad = None
    run(federation)
    for ours, theirs in zip(federation.module.parameters(), central.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_statistics_of_batch_normalization_are_averaged() -> None:
    federation = make_federation(2, with_statistics=True, rounds=1, local=LocalTraining(1, SAMPLES, 1e-9))
    before = build_module(with_statistics=True)
    expected = []
    for share in federation.shares:
        hidden = before[0](federation.task.train.inputs[0][torch.from_numpy(share)])  # type: ignore[index]
        expected.append(0.1 * hidden.mean(0).detach())
    run(federation)
    torch.testing.assert_close(federation.module[1].running_mean, sum(expected) / 2)  # type: ignore[index]


def test_the_result_is_the_mean_of_the_models_after_the_last_rounds() -> None:
    changes = {"with_statistics": True, "dropped": 0.2, "step": ServerStep("fedavgm", 1.0, 0.5)}
    after = {rounds: make_federation(rounds=rounds, **changes) for rounds in (3, 4, 5)}
    averaged = make_federation(rounds=5, average_rounds=3, **changes)
    for federation in (*after.values(), averaged):
        run(federation)
    models = [federation.module.state_dict() for federation in after.values()]
    for name, value in averaged.module.state_dict().items():
        if value.is_floating_point():
            mean = torch.stack([model[name] for model in models]).double().mean(0)
            torch.testing.assert_close(value.double(), mean, rtol=0, atol=1e-7)
    assert list_bits(averaged.module) != list_bits(after[5].module)


def test_bytes_are_the_lengths_of_all_messages() -> None:
    lengths: list[int] = []

    def count(module: nn.Module, jobs: Iterator[ClientJob], settings: Settings) -> Iterator[ClientResult]:
        for result in run_here(module, jobs, settings):
            lengths.append(len(result.message))
            yield result

    federation = make_federation(dropped=0.3, late=0.3, compression=Compression("int8"))
    rounds = run(federation, count)
    layout = Layout.read(federation.module)
    assert sum_rounds(rounds)["bytes_up"] == sum(lengths)
    # The server sends float32 to every client that it asks, also to those that drop out.
    assert sum_rounds(rounds)["bytes_down"] == 3 * 4 * (24 + 4 * layout.parameter_count)
    assert sum(entry.dropped for entry in rounds) > 0
    assert len(lengths) == sum(entry.used + entry.late for entry in rounds) == 12 - sum(e.dropped for e in rounds)


def test_two_processes_give_the_bits_of_one() -> None:
    here, there = (make_federation(**EVERYTHING) for _ in range(2))
    first = run(here)
    assert run(there, functools.partial(run_in_processes, workers=2)) == first
    assert list_bits(here.module) == list_bits(there.module)


class KilledError(Exception):
    """Stands for a kill: nothing after it runs."""


def kill_after(clients: int) -> RunClients:
    """Return a place that ends everything after some clients."""
    left = [clients]

    def run_some(module: nn.Module, jobs: Iterator[ClientJob], settings: Settings) -> Iterator[ClientResult]:
        for result in run_here(module, jobs, settings):
            if not left[0]:
                raise KilledError
            left[0] -= 1
            yield result

    return run_some


def test_a_run_that_is_killed_at_any_client_of_any_round_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    everything = EVERYTHING | {"rounds": 3}
    whole = make_federation(**everything)
    history = run(whole)
    answers = sum(entry.used + entry.late for entry in history)
    assert answers >= 6
    for clients in range(answers):
        directory = tmp_path / str(clients)
        with pytest.raises(KilledError):
            run(make_federation(**everything), kill_after(clients), directory)
        again = make_federation(**everything)
        assert run(again, run_here, directory) == history
        assert list_bits(again.module) == list_bits(whole.module)


def test_a_run_that_is_killed_in_every_round_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole, last = make_federation(**EVERYTHING), make_federation(**EVERYTHING)
    history = run(whole)
    kills = 0
    for _ in history:
        try:
            run(last, kill_after(4), tmp_path)
        except KilledError:
            kills += 1
            last = make_federation(**EVERYTHING)
    assert kills >= 3
    assert run(last, run_here, tmp_path) == history
    assert list_bits(last.module) == list_bits(whole.module)


@pytest.mark.parametrize("kept_bytes", [0, 100])
def test_a_damaged_state_is_refused_with_the_command_that_removes_it(tmp_path: Path, kept_bytes: int) -> None:
    run(make_federation(), run_here, tmp_path)
    (tmp_path / "state.npz").write_bytes((tmp_path / "state.npz").read_bytes()[:kept_bytes])
    with pytest.raises(ArtifactError, match=r"state\.npz is damaged .* 'rm -r "):
        run(make_federation(), run_here, tmp_path)


def answer_with(broken: dict[int, bytes]) -> RunClients:
    def run_some(module: nn.Module, jobs: Iterator[ClientJob], settings: Settings) -> Iterator[ClientResult]:
        for job in jobs:
            yield (
                ClientResult(broken[job.client], None) if job.client in broken else train_client(module, job, settings)
            )

    return run_some


def test_updates_with_nan_or_another_shape_are_rejected_and_the_round_goes_on() -> None:
    federation = make_federation()
    layout = Layout.read(federation.module)
    update = Update(np.full(layout.parameter_count, np.nan, np.float32), np.zeros(0, np.float32), 12)
    other = Layout.read(build_module(with_statistics=True))
    bigger = Update(np.zeros(other.parameter_count, np.float32), np.zeros(other.statistic_count, np.float32), 12)
    broken = {
        1: encode_update(update, Compression(), layout),
        2: encode_update(bigger, Compression(), other),
    }
    rounds = run(federation, answer_with(broken))
    assert [(entry.used, entry.rejected) for entry in rounds] == [(2, 2)] * 3
    assert rounds[0].reasons[0] == "client 1: the update is not finite"
    assert "client 2: the message has 63 parameters" in rounds[0].reasons[1]
    # The others alone give the same model.
    others = make_federation()
    run(dataclasses.replace(others, settings=make_settings()), answer_with({1: b"", 2: b""}))
    assert list_bits(others.module) == list_bits(federation.module)


def test_training_that_diverges_everywhere_is_an_error_with_advice() -> None:
    local = LocalTraining(epochs=2, batch_size=4, learning_rate=1e30)
    with pytest.raises(
        ConfigError, match=r"all were rejected\. The first: client 0: .*not finite\. Lower learning_rate"
    ):
        run(make_federation(local=local))


def test_a_round_without_answers_leaves_the_model_and_the_next_goes_on() -> None:
    rounds = run(federation := make_federation(2, dropped=0.6, rounds=6))
    empty = [entry for entry in rounds if not entry.used]
    assert 0 < len(empty) < 6
    assert sum_rounds(rounds)["empty_rounds"] == len(empty)
    for entry in empty:
        if entry.number > 1:
            assert entry.quality == rounds[entry.number - 2].quality
    assert list_bits(federation.module) != list_bits(build_module())


@pytest.mark.parametrize("missing", [{"dropped": 1.0}, {"late": 1.0}])
def test_rounds_that_all_stay_without_answers_are_an_error(missing: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"no client answered in time in any of 3 rounds\. Lower dropped or late"):
        run(make_federation(**missing))


@pytest.mark.parametrize("average_rounds", [0, 4])
def test_an_average_of_other_than_the_rounds_is_refused(average_rounds: int) -> None:
    with pytest.raises(ConfigError, match=f"average_rounds is {average_rounds}, but there are 3 rounds"):
        run(make_federation(rounds=3, average_rounds=average_rounds))


def test_a_client_without_samples_is_refused() -> None:
    federation = make_federation()
    with pytest.raises(ConfigError, match="client 1 has no training sample"):
        run(dataclasses.replace(federation, shares=[np.arange(3), np.arange(0)]))


def test_batch_normalization_needs_two_samples_a_client() -> None:
    with pytest.raises(ConfigError, match="client 0 has one training sample, and batch normalization needs two"):
        run(make_federation(SAMPLES, with_statistics=True))
    # A batch of one sample at the end of an epoch joins the one before: shares of five in batches of four.
    shares = partitions.split_iid(10, 2, np.random.default_rng(0))
    assert run(dataclasses.replace(make_federation(with_statistics=True), shares=shares))[-1].used == 2


def test_zeros_of_a_pruned_parent_stay_zero() -> None:
    federation = make_federation(step=ServerStep("fedavgm", 1.0, 0.5), compression=Compression("int8"))
    pruned = dataclasses.replace(federation, task=make_task(from_parent=True))
    weight = pruned.module[0].weight  # type: ignore[index]
    with torch.no_grad():
        weight[:, ::2] = 0
    run(pruned)
    assert (weight[:, ::2] == 0).all()
    assert (weight[:, 1::2] != 0).all()


def test_as_many_clients_are_asked_as_the_fraction_says_each_round_others() -> None:
    rounds = [draw_participation(make_settings(fraction=0.3), 10, number) for number in range(1, 50)]
    assert {len(entry.asked) for entry in rounds} == {3}
    assert {client for entry in rounds for client in entry.asked} == set(range(10))
    assert len(draw_participation(make_settings(fraction=0.001), 10, 1).asked) == 1


def test_probabilities_of_missing_clients_are_those_of_the_settings() -> None:
    settings = make_settings(dropped=0.2, late=0.5)
    rounds = [draw_participation(settings, 100, number) for number in range(1, 41)]
    assert sum(len(entry.dropped) for entry in rounds) / 4000 == pytest.approx(0.2, abs=0.03)
    assert sum(len(entry.late) for entry in rounds) / 4000 == pytest.approx(0.8 * 0.5, abs=0.03)


def test_the_curve_has_the_measured_rounds_with_the_bytes_until_then() -> None:
    rounds = run(make_federation(rounds=5, evaluate_every=2))
    curve = list_curve(rounds)
    assert curve["round"] == [2, 4, 5]
    each = rounds[0].bytes_up + rounds[0].bytes_down
    assert curve["bytes"] == [2 * each, 4 * each, 5 * each]
    assert len(curve["quality"]) == 3


def test_clients_are_trained_one_at_a_time() -> None:
    """The next job is made when the answer before was used, so memory does not grow with the clients."""
    log: list[str] = []

    def run_logged(module: nn.Module, jobs: Iterator[ClientJob], settings: Settings) -> Iterator[ClientResult]:
        for job in jobs:
            log.append(f"job {job.client} of {len(job.task.train)} samples")
            yield train_client(module, job, settings)
            log.append(f"used {job.client}")

    run(make_federation(3, rounds=1), run_logged)
    assert log == [text for client in range(3) for text in (f"job {client} of 16 samples", f"used {client}")]
    assert make_task().train.inputs[0].shape[1] == FEATURES
