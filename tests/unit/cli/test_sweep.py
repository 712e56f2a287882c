"""The command `edgeproof sweep`: Hydra's grammar becomes points, and invalid ones are reported before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgeproof.cli import hydra_axes, hydra_launchers, main, sweep
from edgeproof.core.errors import ConfigError, EdgeproofError, UnknownNameError
from edgeproof.sweeps import search
from edgeproof.sweeps import sweep as sweeps_sweep
from edgeproof.sweeps.points import ComposedPoint
from edgeproof.sweeps.search_space import ChoiceAxis, RangeAxis
from tests.support.project import ROOT

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("project_root")]


class RecordedSweep:
    """Records the sweep that the command would run."""

    def __init__(self) -> None:
        self.name = ""
        self.points: Sequence[ComposedPoint] = ()
        self.options: dict[str, Any] = {}

    def __call__(self, name: str, points: Sequence[ComposedPoint], **options: Any) -> int:
        self.name, self.points, self.options = name, points, options
        return 0


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., RecordedSweep]:
    """Return a function that runs the command up to where the sweep would begin."""

    def run_command(*words: str) -> RecordedSweep:
        recorded = RecordedSweep()
        monkeypatch.setattr(sweeps_sweep, "run_sweep", recorded)
        monkeypatch.setattr(
            search, "run_search", lambda name, options, space, compose, **more: recorded(name, [], **more)
        )
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
        assert main.run(["sweep", *words]) == 0
        return recorded

    return run_command


def list_ratios(recorded: RecordedSweep) -> list[tuple[float, list[str]]]:
    return [
        (point.params.prune["student_slim"].options["ratio"], point.params.export["student_slim_w4_onnx"].schemes)
        for point in recorded.points
    ]


# --- points ---------------------------------------------------------------------------------------------------------


def test_a_grid_is_the_product_of_its_values(run: Callable[..., RecordedSweep]) -> None:
    recorded = run("--multirun", "study=digits", "prune.ratio=0.3,0.5", "scheme=fp32,int8-static")
    assert list_ratios(recorded) == [
        (0.3, ["fp32"]),
        (0.3, ["int8-static"]),
        (0.5, ["fp32"]),
        (0.5, ["int8-static"]),
    ]
    assert recorded.points[1].overrides == ("study=digits", "prune.ratio=0.3", "scheme=int8-static")


def test_without_multirun_the_sweep_has_one_point(run: Callable[..., RecordedSweep]) -> None:
    recorded = run("study=digits", "prune.ratio=0.4")
    assert [ratio for ratio, _ in list_ratios(recorded)] == [0.4]


def test_groups_are_swept_like_keys(run: Callable[..., RecordedSweep]) -> None:
    recorded = run("--multirun", "study=digits,fashion_mnist", "preset=quick")
    assert [point.params.study for point in recorded.points] == ["digits", "fashion_mnist"]


def test_the_command_line_changes_the_grid_of_a_named_sweep(run: Callable[..., RecordedSweep]) -> None:
    assert len(run("+sweep=pareto", "study=digits").points) == 12
    recorded = run("+sweep=pareto", "study=digits", "distill.temperature=3", "scheme=fp16")
    assert [ratio for ratio, _ in list_ratios(recorded)] == [0.2, 0.35, 0.5]


def test_the_name_of_a_sweep_depends_on_its_overrides_only(run: Callable[..., RecordedSweep]) -> None:
    words = ("--multirun", "study=digits", "prune.ratio=0.3,0.5")
    name = run(*words).name
    assert run(*words, "+workers=2").name == name
    assert run("--multirun", "prune.ratio=0.3,0.5", "study=digits").name == name
    assert run("--multirun", "study=digits", "prune.ratio=0.3,0.6").name != name
    assert run(*words, "+name=mine").name == "mine"


def test_options_and_overrides_may_come_in_any_order(run: Callable[..., RecordedSweep]) -> None:
    assert len(run("study=digits", "prune.ratio=0.3,0.5", "-m", "scheme=fp32").points) == 2


def test_the_keys_of_the_sweep_are_not_overrides_of_its_points(run: Callable[..., RecordedSweep]) -> None:
    recorded = run("study=digits", "+name=mine", "+workers=3")
    assert recorded.options["workers"] == 3
    assert recorded.points[0].overrides == ("study=digits",)


def test_printing_the_configuration_runs_nothing(
    run: Callable[..., RecordedSweep], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--cfg", "job", "study=digits").points == ()
    assert "study: digits" in capsys.readouterr().out


def test_help_prints_the_usage_and_runs_nothing(
    run: Callable[..., RecordedSweep], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run("--help")
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: edgeproof sweep")
    studies = ", ".join(sorted(path.stem for path in (ROOT / "conf/study").glob("*.yaml")))
    assert f"study: {studies}" in text


def test_the_standalone_command_runs_the_same_sweep(
    run: Callable[..., RecordedSweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = run("study=digits", "prune.ratio=0.4").name
    recorded = RecordedSweep()
    monkeypatch.setattr(sweeps_sweep, "run_sweep", recorded)
    assert sweep.main(["study=digits", "prune.ratio=0.4"]) == 0
    assert recorded.name == name


def test_hydra_leaves_no_directories_of_its_own(run: Callable[..., RecordedSweep], project_root: Path) -> None:
    before = set(project_root.iterdir())
    run("--multirun", "study=digits", "prune.ratio=0.3,0.5")
    assert {path.name for path in set(project_root.iterdir()) - before} <= {".edgeproof"}


# --- one scheme -----------------------------------------------------------------------------------------------------


def test_the_key_scheme_applies_to_every_model_but_the_baseline(run: Callable[..., RecordedSweep]) -> None:
    params = run("study=fashion_mnist", "scheme=fp16").points[0].params
    schemes = {item.model: item.schemes for item in params.export.values()}
    assert schemes.pop("teacher") == ["fp32"]
    assert len(schemes) == 5
    assert all(names == ["fp16"] for names in schemes.values())
    assert params.report.final == {"student_slim": ["fp16"]}


# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (["--multirun", "prune.ratoi=0.3,0.5"], ["ratoi"]),
        (["--multirun", "prune.ratio=0.3,1.5"], ["prune.ratio=1.5", "less than 1", "nothing runs"]),
        (["--multirun", "study=digits,digit"], ["digit"]),
        (["--multirun", "scheme=fp32,int4"], ["unknown scheme 'int4'", "int8-static"]),
        (["--multirun", "prune.ratio=range(5,1)"], ["the grid is empty"]),
        (["--multirun", "prune.ratio=interval(0.1,0.5)"], ["interval", "+search"]),
        (["prune.ratio=0.3,0.5"], ["--multirun"]),
        (["+sweep=paretto"], ["paretto", "pareto"]),
        (["+nam=mine"], ["nam: unknown key"]),
        (["+name=../mine"], ["is not a valid name of a sweep"]),
        (["+workers=0"], ["workers", "greater than or equal to 1"]),
        (["--multirun", "+workers=1,2"], ["apply to the whole sweep"]),
        (["hydra/launcher=submitit"], ["unknown launcher 'submitit'", "basic"]),
        (["hydra/sweeper=optuna"], ["+search=<name>"]),
        (["+search=smal"], ["smal"]),
        (["--multirun", "+search=small_and_accurate", "prune.ratio=0.3,0.5"], ["a search picks its points itself"]),
        (["+search=small_and_accurate", "search.trials=0"], ["trials", "greater than 0"]),
        (["+search=small_and_accurate", "search.batch=1"], ["batch", "greater than or equal to 2"]),
        (["+search=small_and_accurate", "search.trails=9"], ["trails"]),
        (["+search=small_and_accurate", "search.sampler=genetic"], ["sampler", "nsga2"]),
    ],
)
def test_an_invalid_command_is_one_message_and_runs_nothing(
    run: Callable[..., RecordedSweep], words: list[str], messages: list[str]
) -> None:
    with pytest.raises(EdgeproofError) as caught:
        run("study=digits", *words) if not any(word.startswith("study=") for word in words) else run(*words)
    for text in messages:
        assert text in str(caught.value)
    assert "full_key" not in str(caught.value)


def test_a_missing_launcher_is_reported_with_its_package(
    run: Callable[..., RecordedSweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra.core.config_store import ConfigStore

    monkeypatch.setattr(ConfigStore, "list", lambda self, group: ["basic.yaml"])
    with pytest.raises(
        UnknownNameError, match=r"unknown launcher 'submitit_local'.*pip install hydra-submitit-launcher"
    ):
        hydra_launchers.find_launcher(["hydra/launcher=submitit_local"])


def test_the_options_of_a_launcher_are_checked_before_anything_runs(run: Callable[..., RecordedSweep]) -> None:
    from hydra.core.config_store import ConfigStore

    node = {"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher", "jobs": 1}
    ConfigStore.instance().store("far", node, group="hydra/launcher", provider="test")
    assert run("study=digits", "hydra/launcher=far", "+hydra.launcher.more=2").options["launch"] is not None
    with pytest.raises(ConfigError, match=r"jbos"):
        run("study=digits", "hydra/launcher=far", "hydra.launcher.jbos=2")


# --- a search's space -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grammar", "axis"),
    [
        ("interval(0.1, 0.6)", RangeAxis(0.1, 0.6, None, False, False)),
        ("interval(1, 8)", RangeAxis(1, 8, None, False, False)),
        ("tag(log, interval(0.01, 1.0))", RangeAxis(0.01, 1.0, None, True, False)),
        ("range(2, 7)", RangeAxis(2, 6, 1, False, True)),
        ("range(2, 9, 2)", RangeAxis(2, 8, 2, False, True)),
        ("choice(fp32, int8-static)", ChoiceAxis(("fp32", "int8-static"))),
        ("1,2,4", ChoiceAxis(("1", "2", "4"))),
        ("7", ChoiceAxis(("7",))),
    ],
)
def test_a_search_space_is_parsed_in_hydras_grammar(grammar: str, axis: object) -> None:
    assert hydra_axes.parse_axis("prune.ratio", grammar) == axis


@pytest.mark.parametrize("grammar", ["interval(0.6, 0.1)", "range(5, 1)", "interval(1"])
def test_an_empty_or_invalid_search_space_is_refused(grammar: str) -> None:
    with pytest.raises(ConfigError):
        hydra_axes.parse_axis("prune.ratio", grammar)
