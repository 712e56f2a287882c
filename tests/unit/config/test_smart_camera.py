"""The study of the smart camera: the sizes of its chain, by the formula of a detector's parameters."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch_pruning

from edgeproof.config import cards, compose
from edgeproof.config.params import Params
from edgeproof.methods import prune_channels
from edgeproof.models.channel_pruning import remove_channels
from edgeproof.models.training_task import make_examples
from edgeproof.networks import tiny_yolo
from edgeproof.tasks import detection
from tests.support.project import ROOT

CLASSES, SIDES = 3, 4
BYTES_FP32, BYTES_INT8 = 4, 1
# The index of the width at stride 8, where the heads are.
HEAD_LEVEL = 2


@pytest.fixture(scope="module")
def study() -> Params:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return compose.compose("smart_camera")


def count_convolution(channels_in: int, channels_out: int, kernel: int) -> int:
    """Return the parameters of a convolution without bias and of its batch normalization."""
    return channels_in * channels_out * kernel**2 + 2 * channels_out


def count_block(channels_in: int, channels_out: int, stride: int) -> int:
    main = count_convolution(channels_in, channels_out, 3) + count_convolution(channels_out, channels_out, 3)
    has_projection = stride != 1 or channels_in != channels_out
    return main + (count_convolution(channels_in, channels_out, 1) if has_projection else 0)


def count_detector(widths: Sequence[int], *, blocks: int, neck: int, head: int) -> int:
    """Return the parameters of a tiny_yolo with one scale of outputs at stride 8."""
    stem = count_convolution(3, widths[0], 3)
    stages = sum(
        count_block(before, width, 2) + (blocks - 1) * count_block(width, width, 1)
        for before, width in itertools.pairwise(widths)
    )
    laterals = sum((width + 1) * neck for width in widths[HEAD_LEVEL:])
    branches = 2 * head * count_convolution(neck, neck, 3)
    return stem + stages + laterals + branches + (neck + 1) * (CLASSES + SIDES)


def keep(channels: int, ratio: float, round_to: int) -> int:
    """Return the channels that pruning keeps in a layer."""
    return int(channels * (1 - ratio)) // round_to * round_to


def prune_options(options: dict[str, Any], ratio: float, round_to: int) -> dict[str, Any]:
    widths = [keep(width, ratio, round_to) for width in options["widths"]]
    return {**options, "widths": widths, "neck": keep(options["neck"], ratio, round_to)}


def find_options(study: Params, name: str) -> dict[str, Any]:
    """Return the options of the network of a model that has one."""
    item = {**study.train, **study.distill}[name]
    assert item.network == "tiny_yolo"
    return dict(item.network_options)


def count_pruned(study: Params) -> int:
    prune = study.prune["large_pruned"].options
    return count_detector(**prune_options(find_options(study, "large"), prune["ratio"], prune["round_to"]))


def count(study: Params, name: str) -> int:
    return count_pruned(study) if name == "large_pruned" else count_detector(**find_options(study, name))


@pytest.mark.parametrize("name", ["student", "tiny", "tiny_alone"])
def test_a_detector_has_as_many_parameters_as_its_formula_says(study: Params, name: str) -> None:
    network = tiny_yolo.build(detection.INPUTS, detection.OUTPUTS, **find_options(study, name))
    assert sum(parameter.numel() for parameter in network.parameters()) == count(study, name)


def test_pruning_leaves_the_detector_of_the_widths_that_it_keeps(study: Params) -> None:
    options = find_options(study, "large") | {"widths": [16, 32, 64, 128]}
    network = tiny_yolo.build(detection.INPUTS, detection.OUTPUTS, **options)
    prune = study.prune["large_pruned"].options
    chosen = prune_channels.Options.model_validate(prune)

    class Task:
        def make_examples(self, samples: int) -> Any:
            return make_examples(detection.INPUTS, samples)

    importance = torch_pruning.importance.GroupMagnitudeImportance(p=1)
    remove_channels(network, Task(), importance, ratio=chosen.ratio, round_to=chosen.round_to)  # type: ignore[arg-type]
    expected = count_detector(**prune_options(options, chosen.ratio, chosen.round_to))
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


@pytest.mark.parametrize(
    ("name", "bytes_each", "least_mb", "most_mb"),
    [
        ("large", BYTES_FP32, 290, 310),
        ("large_pruned", BYTES_FP32, 95, 105),
        ("student", BYTES_FP32, 28, 34),
        ("student", BYTES_INT8, 7.5, 10),
        ("tiny", BYTES_FP32, 0.5, 1),
    ],
)
def test_each_step_of_the_chain_has_its_size(
    study: Params, name: str, bytes_each: int, least_mb: float, most_mb: float
) -> None:
    assert least_mb * 1e6 <= count(study, name) * bytes_each <= most_mb * 1e6


def test_only_the_integers_of_the_student_and_the_tiny_detector_fit_the_budget_of_the_camera(study: Params) -> None:
    budget = cards.read("smart_camera", ROOT / "devices").budget
    assert budget is not None
    assert budget.size_mb is not None
    limit = budget.size_mb * 1e6
    fitting = [
        name for name in ("large", "large_pruned", "student", "tiny") if count(study, name) * BYTES_FP32 <= limit
    ]
    assert fitting == ["tiny"]
    assert count(study, "student") * BYTES_INT8 < limit
    assert {item.device for item in study.bench.values()} == {"smart_camera"}


def test_each_step_starts_from_the_one_before(study: Params) -> None:
    assert study.prune["large_pruned"].parent == "large"
    assert study.distill["student"].teachers == ["large_pruned"]
    alone, taught = study.train["tiny_alone"], study.distill["tiny"]
    assert alone.network_options == taught.network_options
    shared = alone.options.keys() & taught.options.keys()
    assert {key: alone.options[key] for key in shared} == {key: taught.options[key] for key in shared}
