"""Whole searches for the smallest model without DVC: rungs, the budget, continuing, the chosen study, the ablation."""

from __future__ import annotations

import argparse
import csv
import functools
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeproof.cli import main
from edgeproof.cli import search as cli_search
from edgeproof.cli.hydra_axes import parse_axis
from edgeproof.config import compose
from edgeproof.core.directories import read_meta, write_json, write_text
from edgeproof.core.errors import ConfigError
from edgeproof.data import preparation
from edgeproof.models import build
from edgeproof.report import row_data
from edgeproof.statistics.estimates import Estimate
from edgeproof.study import plan
from edgeproof.sweeps.local_executor import PointPhase
from edgeproof.sweeps.outcomes import ModelSummary, PointFailure, PointOutcome
from edgeproof.sweeps.points import ComposedPoint
from edgeproof.sweeps.search import ask_next_trial, create_study
from edgeproof.sweeps.search_space import ChoiceAxis
from edgeproof.sweeps.smallest import choices, proxies, run
from edgeproof.sweeps.smallest.choices import ChoiceSpace
from edgeproof.sweeps.smallest.options import SmallestOptions
from edgeproof.sweeps.smallest.proxies import Proxies, Untrained
from edgeproof.sweeps.store import SweepStore
from tests.support.sweep_points import ROW

ROOT = Path(__file__).parents[3]
pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("project")]

GRAMMAR = {"width": "choice(8,16,64)", "blocks": "choice(1,4)"}
KEYS = {
    "teacher": "choice(teacher,none)", "temperature": "choice(2.0)", "hard_weight": "choice(0.1)",
    "mixup": "choice(0)", "ratio": "choice(0,0.5)", "scheme": "choice(int8-static,fp32)",
}  # fmt: skip


@pytest.fixture
def project(empty_project: Path) -> Path:
    """Return an empty project with the configuration of this one."""
    shutil.copytree(ROOT / "conf", empty_project / "conf")
    shutil.copytree(ROOT / "devices", empty_project / "devices")
    return empty_project


def examine(candidate: Untrained, limits: Mapping[str, float]) -> Proxies:
    """Return figures that grow with the network; the fp32 file is four times as large."""
    parameters = (
        candidate.network_options["width"] * candidate.network_options["blocks"] * (1 if candidate.steps else 2)
    )
    return Proxies(parameters, 10 * parameters, parameters * (4 if candidate.export["schemes"] == ["fp32"] else 1))


@dataclass
class Starter:
    """Ends points at once, with qualities that grow with size and epochs. Notes what it started."""

    started: list[tuple[str, PointPhase]] = field(default_factory=list)

    def __call__(self, store: SweepStore, digest: str, phase: PointPhase) -> subprocess.Popen[bytes]:
        request, params = store.read_request(), store.load_params(digest)
        point = next(point for point in request.points if point.digest == digest)
        self.started.append((digest, phase))
        size = examine(proxies.describe_untrained(params), {}).size_bytes
        assert size is not None
        quality = 1 - 1 / (1 + size * params.find_model("student").options["epochs"] ** 0.5)
        models = {name: ModelSummary("b" * 64, quality) for name in ("student", *params.prune)}
        if phase == "train":
            store.write_trained(digest, models)
        else:
            row = replace(ROW, size_bytes=size, quality=Estimate(quality, 0.0, 1.0))
            row = replace(
                row, model=next(iter(params.report.final)), scheme=next(iter(params.report.final.values()))[0]
            )
            result = store.point_directory(digest)
            write_json(result / "tables/table.json", row_data.describe_rows([row], study=params.study))
            write_text(result / "params.yaml", store.params_path(digest).read_text())
            store.write_outcome(result, PointOutcome(point.overrides, request.code, models, [], "experiment"))
        return subprocess.Popen([sys.executable, "-S", "-c", ""], start_new_session=True)


def options(**changes: Any) -> SmallestOptions:
    content = yaml.safe_load((ROOT / "conf/search/smallest.yaml").read_text())
    content |= {"within": {"size_kb": 0.1}, "target": 95.0, "networks": ["ds_cnn"], "trials": 6, "batch": 3, "rungs": 2}
    return SmallestOptions.model_validate({**content, "save_as": "chosen", **changes})


def plan_one(name: str = "s", **changes: Any) -> run.SmallestSearch:
    chosen = options(**changes)
    space = ChoiceSpace(
        {"ds_cnn": {key: parse_axis(key, value) for key, value in GRAMMAR.items()}},
        {"ds_cnn": yaml.safe_load((ROOT / "conf/networks/ds_cnn.yaml").read_text())["options"]},
        {key: parse_axis(key, value) for key, value in KEYS.items()},
        has_teacher=True,
        has_mixup=False,
    )

    return run.plan_search(name, chosen, space, compose_words(()).params, lambda words: compose_words(tuple(words)))


@functools.cache
def compose_words(words: tuple[str, ...]) -> ComposedPoint:
    """Compose a candidate once for all tests, which takes a part of a second."""
    overrides = ("study=smallest", "++tasks.digits.quality_floor=0.0", *words)
    return ComposedPoint(overrides, compose.compose(None, overrides))


def read_candidates(name: str = "s") -> list[dict[str, str]]:
    with (SweepStore(name).directory / run.CANDIDATES_FILE).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_search_trains_only_candidates_within_the_budget_and_ever_fewer_of_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    starter = Starter()
    assert run.run_smallest(plan_one(), starter=starter, examine=examine) == 0
    trained = [digest for digest, phase in starter.started if phase == "train"]
    assert len(trained) == len(set(trained)) == 6 + 2
    sizes = [
        examine(proxies.describe_untrained(SweepStore("s").load_params(digest)), {}).size_bytes for digest in trained
    ]
    assert all(size is not None and size <= 100 for size in sizes)
    epochs = [SweepStore("s").load_params(digest).find_model("student").options["epochs"] for digest in trained]
    assert epochs == [2] * 6 + [6] * 2
    rows = read_candidates()
    refused = [row for row in rows if row["outcome"].startswith("refused: size_bytes")]
    assert refused
    assert all(int(row["predicted_size_bytes"]) > 100 and not row["validation_quality_by_rung"] for row in refused)
    measured = [row for row in rows if row["outcome"] == "measured"]
    assert len(measured) == len([phase for _, phase in starter.started if phase == "all"])
    assert 1 <= len(measured) <= 2
    printed = capsys.readouterr().out
    assert "Smallest that meets 95.00%" in printed
    header = next(line for line in printed.splitlines() if line.startswith("| point |"))
    assert "models.student.network_options" in header
    for hidden in ("runtimes", "models.small ", "models.rounded ", "student.options.temperature"):
        assert hidden not in header


def test_the_same_command_repeats_nothing_and_a_search_is_repeatable() -> None:
    first, second, other = Starter(), Starter(), Starter()
    run.run_smallest(plan_one(), starter=first, examine=examine)
    study = Path("conf/study/chosen.yaml").read_bytes()
    run.run_smallest(plan_one(), starter=second, examine=examine)
    run.run_smallest(plan_one("again"), starter=other, examine=examine)
    assert second.started == []
    assert sorted(other.started) == sorted(first.started)
    assert read_candidates("again") == read_candidates("s")
    assert Path("conf/study/chosen.yaml").read_bytes() == study


def test_an_interrupted_search_continues_where_it_was() -> None:
    class Interrupted(Starter):
        def __call__(self, store: SweepStore, digest: str, phase: PointPhase) -> subprocess.Popen[bytes]:
            if len(self.started) == 5:
                raise KeyboardInterrupt
            return super().__call__(store, digest, phase)

    whole, cut, rest = Starter(), Interrupted(), Starter()
    run.run_smallest(plan_one("whole"), starter=whole, examine=examine)
    with pytest.raises(KeyboardInterrupt):
        run.run_smallest(plan_one("cut"), starter=cut, examine=examine)
    run.run_smallest(plan_one("cut"), starter=rest, examine=examine)
    assert len(cut.started) == 5
    assert sorted(cut.started + rest.started) == sorted(whole.started)


def test_the_chosen_study_makes_the_stages_of_the_chosen_point() -> None:
    starter = Starter()
    run.run_smallest(plan_one(), starter=starter, examine=examine)
    written = compose.compose("chosen")
    measured = [SweepStore("s").load_params(digest) for digest, phase in starter.started if phase == "all"]
    assert plan.list_stages(written) in [plan.list_stages(params) for params in measured]
    assert "${" not in Path("conf/study/chosen.yaml").read_text()


def test_the_chosen_study_rebuilds_the_same_weights() -> None:
    run.run_smallest(plan_one(space={**KEYS}), starter=Starter(), examine=examine)
    overrides = yaml_header(Path("conf/study/chosen.yaml"))
    hashes = []
    for params in (compose.compose(None, overrides), compose.compose("chosen")):
        preparation.prepare(params.task)
        for models in (params.train, params.distill, params.prune):
            for name, item in models.items():
                item.options["epochs"] = 1
                build.build(name, params)
        final = next(iter(params.report.final))
        hashes.append(read_meta(Path("models", final))["files"])
    assert hashes[0] == hashes[1]


def yaml_header(path: Path) -> list[str]:
    """Return the overrides in the second line of a chosen study."""
    return shlex.split(path.read_text().splitlines()[1].partition("edgeproof repro ")[2])


def test_a_study_that_no_search_has_written_is_never_overwritten() -> None:
    before = Path("conf/study/digits.yaml").read_bytes()
    starter = Starter()
    with pytest.raises(ConfigError, match=r"study 'digits' exists.*--save-as"):
        run.run_smallest(plan_one(save_as="digits"), starter=starter, examine=examine)
    assert starter.started == []
    assert Path("conf/study/digits.yaml").read_bytes() == before


def test_a_target_that_no_point_meets_writes_no_study_and_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.run_smallest(plan_one(target=99.99), starter=Starter(), examine=examine) == 1
    assert "No measured point reaches 99.99%. The best one within the budget reaches" in capsys.readouterr().out
    assert not Path("conf/study/chosen.yaml").exists()


def test_a_budget_that_no_candidate_meets_is_answered_with_the_nearest_one() -> None:
    starter = Starter()
    with pytest.raises(
        ConfigError, match=r"none of \d+ candidates is within the budget \(size_bytes ≤ 5\).*ds_cnn width=8"
    ):
        run.run_smallest(plan_one(within={"size_kb": 0.005}, attempts=20), starter=starter, examine=examine)
    assert starter.started == []


class FailingStarter(Starter):
    """Ends all trainings from a number of epochs on without a model, for one reason."""

    def __init__(self, least_epochs: int) -> None:
        super().__init__()
        self.least_epochs = least_epochs

    def __call__(self, store: SweepStore, digest: str, phase: PointPhase) -> subprocess.Popen[bytes]:
        if store.load_params(digest).find_model("student").options["epochs"] < self.least_epochs:
            return super().__call__(store, digest, phase)
        self.started.append((digest, phase))
        store.write_failure(digest, PointFailure("the reference is missing"))
        return subprocess.Popen([sys.executable, "-S", "-c", ""], start_new_session=True)


@pytest.mark.parametrize(("least_epochs", "rungs"), [(0, 1), (4, 2)])
def test_a_search_ends_with_the_reason_when_all_trainings_of_a_batch_fail(least_epochs: int, rungs: int) -> None:
    starter = FailingStarter(least_epochs)
    with pytest.raises(
        ConfigError,
        match=r"no training succeeded: failed: the reference is missing\. All candidates: .*candidates\.csv$",
    ):
        run.run_smallest(plan_one(), starter=starter, examine=examine)
    epochs = {
        SweepStore("s").load_params(digest).find_model("student").options["epochs"] for digest, _ in starter.started
    }
    assert len(epochs) == rungs
    assert all(candidate["outcome"] for candidate in read_candidates())


def test_the_steps_to_the_winner_are_listed_and_run_only_if_asked_for() -> None:
    starter = Starter()
    run.run_smallest(plan_one(), starter=starter, examine=examine)
    text = (SweepStore("s").directory / "ablation.md").read_text()
    steps = text.count("edgeproof repro study=smallest")
    assert steps >= 2
    assert not SweepStore("s-ablation").directory.exists()
    assert run.run_smallest(plan_one(ablation=True), starter=starter, examine=examine) == 0
    assert len(SweepStore("s-ablation").read_request().points) == steps


# --- the command -------------------------------------------------------------------------------------------------


def parse(*words: str) -> argparse.Namespace:
    return main.parse(["search", *words])


def test_the_options_of_the_command_are_keys_of_a_sweep() -> None:
    arguments = parse(
        "digits", "--within", "size_kb=16", "--within", "smart_camera", "--target", "90", "--runtime", "tflite",
        "--epochs", "9", "--trials", "4", "--save-as", "mine", "--networks", "ds_cnn,resnet8", "--ablation",
    )  # fmt: skip
    assert cli_search.list_words(arguments) == [
        "+search=smallest", "study=smallest", "task=digits", "search.target=90.0", "++search.within.size_kb=16.0",
        "++search.within.device=smart_camera", "bench.devices=[smart_camera]", "bench.runtimes=[tflite]",
        "search.networks=[ds_cnn,resnet8]", "search.trials=4", "search.save_as=mine", "train.epochs=9",
        "distill.epochs=9", "prune.epochs=3", "search.ablation=true",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "study"),
    [
        (["digits"], "smallest"),
        (["keyword_spotting"], "smallest_keyword_spotting"),
        (["keyword_spotting", "--study", "smallest"], "smallest"),
    ],
)
def test_a_search_varies_the_study_of_its_task_or_the_one_that_is_named(words: list[str], study: str) -> None:
    arguments = parse(*words, "--within", "size_kb=16", "--target", "90")
    assert f"study={study}" in cli_search.list_words(arguments)


def test_a_study_that_a_search_has_written_is_not_varied_by_the_next_one() -> None:
    run.run_smallest(plan_one(save_as="smallest_digits"), starter=Starter(), examine=examine)
    assert "smallest_digits" in compose.list_studies()
    arguments = parse("digits", "--within", "size_kb=16", "--target", "90")
    assert "study=smallest" in cli_search.list_words(arguments)


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Callable[..., run.SmallestSearch]:
    """Return a function that plans the search of a command line, and runs nothing."""
    planned: list[run.SmallestSearch] = []
    monkeypatch.setattr(run, "run_smallest", lambda search, workers: planned.append(search) or 0)

    def plan_command(*words: str) -> run.SmallestSearch:
        arguments = parse(*words)
        assert arguments.function(arguments) == 0
        return planned[-1]

    return plan_command


def test_a_search_chooses_among_the_networks_that_take_the_tasks_inputs(
    search: Callable[..., run.SmallestSearch],
) -> None:
    images = search("digits", "--within", "size_kb=16", "--target", "90")
    assert list(images.space.networks) == ["resnet8", "ds_cnn", "mobilenet_v2"]
    assert images.space.has_teacher
    signals = search("activity", "--within", "smart_camera", "--target", "80")
    assert list(signals.space.networks) == ["resnet8", "ds_cnn", "mobilenet_v2", "cnn_1d", "ds_cnn_1d"]
    assert signals.budget.limits == pytest.approx({"size_bytes": 12e6, "p90_us": 50_000, "peak_rss_bytes": 1e9})
    assert signals.compose(()).params.find_model("teacher").network == "resnet8"
    assert signals.name.startswith("activity-smallest-")
    assert images.space.keys["scheme"] == ChoiceAxis(("int8-static",))
    words = ("--within", "size_kb=16", "--target", "90", "--runtime", "tflite", "--networks", "ds_cnn,resnet8")
    tflite = search("digits", *words)
    assert tflite.compose(()).params.find_model("teacher").network == "ds_cnn"
    assert tflite.space.keys["scheme"] == ChoiceAxis(("int8-static", "int4-static"))


@pytest.mark.parametrize(("task", "has_mixup"), [("digits", True), ("anomaly_detection", False)])
def test_mixup_is_chosen_where_inputs_and_labels_can_be_averaged(
    monkeypatch: pytest.MonkeyPatch, task: str, has_mixup: bool
) -> None:
    planned: list[run.SmallestSearch] = []
    monkeypatch.setattr(run, "run_smallest", lambda search, workers: planned.append(search) or 0)
    words = ["+search=smallest", "study=smallest", f"task={task}", "++search.within.size_kb=16", "search.target=90"]
    assert main.run(["sweep", *words, "search.space.mixup='choice(0,0.2)'"]) == 0
    space = planned[0].space
    assert space.has_mixup is has_mixup
    settings = options().to_search_options()
    study = create_study(settings, planned[0].metric)
    chosen = [space.suggest(ask_next_trial(study, settings, number)) for number in range(8)]
    assert {choice.mixup for choice in chosen} == ({"0", "0.2"} if has_mixup else {None})
    for choice in chosen:
        student = planned[0].compose(choice.list_overrides()).params.find_model("student")
        assert student.options.get("mixup", 0) == float(choice.mixup or 0)


@pytest.mark.parametrize(
    ("line", "changed", "message"),
    [
        ("epochs: ${distill.epochs}", "epochs: 9", "'epochs' of the model 'student' is 9, and the search sets 3"),
        ("ratio: ${prune.ratio}", "ratio: 0.25", "'ratio' of the model 'small' is 0.25, and the search sets 0.5"),
        ("    teacher: ${models.student.teacher}\n", "", r"'teacher' of the model 'small' is \[\], and"),
    ],
)
def test_a_study_that_does_not_follow_the_search_is_refused(
    search: Callable[..., run.SmallestSearch], line: str, changed: str, message: str
) -> None:
    text = Path("conf/study/smallest.yaml").read_text().replace(line, changed, 1)
    Path("conf/study/mine.yaml").write_text(text.replace("study: smallest", "study: mine"))
    with pytest.raises(ConfigError, match=f"study 'mine' can't be varied by this search: {message}"):
        search("digits", "--within", "size_kb=16", "--target", "90", "--study", "mine")


def test_candidates_of_spoken_words_have_two_teachers_in_all_their_trainings(
    search: Callable[..., run.SmallestSearch],
) -> None:
    planned = search(
        "keyword_spotting", "--within", "size_kb=16", "--target", "90", "--runtime", "tflite", "--epochs", "30"
    )
    choice = choices.Choice("ds_cnn_1d", (("width", "48"),), "4.0", "0.1", "0.5", "int4-static")
    params = planned.compose_rung(choice, 1).params
    for name in choice.chain:
        assert params.find_model(name).teachers == ["teacher", "reference"]
        assert params.find_model(name).options["hard_weight"] == 0.1
    assert [params.find_model(name).options["epochs"] for name in ("teacher", *choice.chain)] == [30, 30, 10, 10]
    assert params.report.final == {"rounded": ["int4-static"]}
    assert params.find_model("teacher").network_options["width"] == 96
    alone = replace(choice, temperature=None, hard_weight=None)
    params = planned.compose_rung(alone, 1).params
    assert [params.find_model(name).teachers for name in choice.chain] == [[], [], []]


@pytest.mark.parametrize(("task", "floor"), [("digits", 0.0), ("anomaly_detection", -1e15)])
def test_a_candidate_of_any_quality_has_figures(
    search: Callable[..., run.SmallestSearch], task: str, floor: float
) -> None:
    params = search(task, "--within", "size_kb=16", "--target", "0.5").compose(()).params
    (session,) = params.bench.values()
    assert session.worst_valid_quality == floor


def test_the_floor_of_a_search_is_the_worst_quality_of_the_metric() -> None:
    task = compose_words(()).params.task
    floors = {
        metric: choices.compose_quality_floor(task.model_copy(update={"metric": metric}))
        for metric in ("accuracy", "auc", "rmse")
    }
    assert floors == {
        "accuracy": "++tasks.digits.quality_floor=0.0",
        "auc": "++tasks.digits.quality_floor=-1000000000000000.0",
        "rmse": "++tasks.digits.quality_floor=1000000000000000.0",
    }


def test_a_floor_that_is_given_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[run.SmallestSearch] = []
    monkeypatch.setattr(run, "run_smallest", lambda search, workers: planned.append(search) or 0)
    words = ["+search=smallest", "study=smallest", "++search.within.size_kb=16", "search.target=90"]
    assert main.run(["sweep", *words, "++tasks.digits.quality_floor=0.8"]) == 0
    (session,) = planned[0].compose(()).params.bench.values()
    assert session.worst_valid_quality == 0.8


def test_a_device_without_the_runtime_is_refused_before_anything_is_trained(
    search: Callable[..., run.SmallestSearch],
) -> None:
    words = ("digits", "--within", "microcontroller", "--target", "90")
    message = r"device 'microcontroller' has no runtime 'onnx'.*Give one with --runtime, such as tflm\."
    with pytest.raises(ConfigError, match=message):
        search(*words)
    budget = search(*words, "--runtime", "tflm").budget
    assert budget.limits == {"size_bytes": 1024 * 1024, "arena_bytes": 256 * 1024}


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("size_kb=8", "size_kb=16", "--within gives size_kb twice, as 8.0 and 16.0. Give it once."),
        ("smart_camera", "device=pi", "device twice"),
    ],
)
def test_a_limit_that_is_given_twice_is_refused(first: str, second: str, message: str) -> None:
    arguments = parse("digits", "--within", first, "--within", second, "--target", "90")
    with pytest.raises(ConfigError, match=re.escape(message)):
        arguments.function(arguments)


def test_schemes_that_no_runtime_has_are_refused_with_those_that_it_has() -> None:
    words = ["+search=smallest", "study=smallest", "++search.within.size_kb=16", "search.target=90"]
    words += ["bench.runtimes=[openvino]", "search.space.scheme='choice(int4-static)'"]
    message = "search.space.scheme has int4-static, and openvino has none of them. Schemes to choose from: fp32, fp16"
    with pytest.raises(ConfigError, match=re.escape(message)):
        main.run(["sweep", *words])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--within", "sise_kb=16"], "Did you mean 'size_kb'"),
        (
            ["--within", "size_kb=16", "--networks", "gru"],
            "network 'gru' has no search space. Add one to conf/networks/gru.yaml",
        ),
        (["--within", "size_kb=16", "--networks", "nothing"], "unknown network 'nothing'"),
        (
            ["--within", "size_kb=16", "--study", "digits"],
            "study 'digits' can't be varied by this search: it has no model small or rounded",
        ),
        (["--within", "size_kb=16", "--study", "smalest"], "unknown study 'smalest'"),
        (["--within", "size_kb=16", "--networks", "cnn_1d"], "no network takes the inputs of this task. cnn_1d:"),
    ],
)
def test_a_search_that_cannot_work_is_refused(
    search: Callable[..., run.SmallestSearch], words: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        search("digits", *words, "--target", "90")


def test_a_value_that_the_options_of_a_network_refuse_is_refused_before_anything_runs(
    search: Callable[..., run.SmallestSearch],
) -> None:
    path = Path("conf/networks/ds_cnn.yaml")
    path.write_text(path.read_text().replace("choice(16,24,32,48,64)", "choice(16,-1)"))
    with pytest.raises(ConfigError, match="width: Input should be greater than 0"):
        search("digits", "--within", "size_kb=16", "--target", "90", "--networks", "ds_cnn")
    path.write_text(path.read_text().replace("width:", "widht:", 2).replace("widht: 64", "width: 64"))
    with pytest.raises(ConfigError, match="widht: unknown key"):
        search("digits", "--within", "size_kb=16", "--target", "90", "--networks", "ds_cnn")
