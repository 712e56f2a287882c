"""The sweep's command line: Hydra's grammar becomes points, and what is wrong is said before anything runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgeproof.cli import sweep
from edgeproof.core.errors import ConfigError, EdgeproofError, UnknownName
from edgeproof.sweeps import search
from edgeproof.sweeps import sweep as sweeps_sweep
from edgeproof.sweeps.sweep import Wish

pytestmark = pytest.mark.usefixtures("project_root")


class Asked:
    """What the entry would have run."""

    def __init__(self) -> None:
        self.name = ""
        self.wishes: Sequence[Wish] = ()
        self.more: dict[str, Any] = {}

    def __call__(self, name: str, wishes: Sequence[Wish], **more: Any) -> int:
        self.name, self.wishes, self.more = name, wishes, more
        return 0


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Asked]:
    """Run the entry with these words, up to where the sweep would begin."""

    def run(*words: str) -> Asked:
        asked = Asked()
        monkeypatch.setattr(sweeps_sweep, "sweep", asked)
        monkeypatch.setattr(search, "search", lambda name, options, space, compose, **more: asked(name, [], **more))
        monkeypatch.setattr(sys, "argv", ["sweep", *words])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
        assert sweep.main() == 0
        return asked

    return run


def ratios(asked: Asked) -> list[tuple[float, list[str]]]:
    return [
        (wish.params.prune["student_slim"].options["ratio"], wish.params.export["student_slim_w4_onnx"].schemes)
        for wish in asked.wishes
    ]


# --- points ---------------------------------------------------------------------------------------------------------


def test_a_grid_is_the_product_of_its_values_with_the_last_key_fastest(run: Callable[..., Asked]) -> None:
    asked = run("--multirun", "study=digits", "prune.ratio=0.3,0.5", "scheme=fp32,int8-static")
    assert ratios(asked) == [
        (0.3, ["fp32"]),
        (0.3, ["int8-static"]),
        (0.5, ["fp32"]),
        (0.5, ["int8-static"]),
    ]
    assert asked.wishes[1].overrides == ("study=digits", "prune.ratio=0.3", "scheme=int8-static")


def test_without_multirun_it_is_a_sweep_of_one_point(run: Callable[..., Asked]) -> None:
    asked = run("study=digits", "prune.ratio=0.4")
    assert [ratio for ratio, _ in ratios(asked)] == [0.4]


def test_groups_are_swept_like_keys(run: Callable[..., Asked]) -> None:
    asked = run("--multirun", "study=digits,fashion_mnist", "preset=quick")
    assert [wish.params.study for wish in asked.wishes] == ["digits", "fashion_mnist"]


def test_a_named_sweep_brings_its_grid_and_the_command_line_changes_it(run: Callable[..., Asked]) -> None:
    assert len(run("+sweep=pareto", "study=digits").wishes) == 12
    asked = run("+sweep=pareto", "study=digits", "distill.temperature=3", "scheme=fp16")
    assert [ratio for ratio, _ in ratios(asked)] == [0.2, 0.35, 0.5]


def test_the_same_command_has_the_same_name_and_another_one_another(run: Callable[..., Asked]) -> None:
    words = ("--multirun", "study=digits", "prune.ratio=0.3,0.5")
    name = run(*words).name
    assert run(*words, "+workers=2").name == name
    assert run("--multirun", "prune.ratio=0.3,0.5", "study=digits").name == name
    assert run("--multirun", "study=digits", "prune.ratio=0.3,0.6").name != name
    assert run(*words, "+name=mine").name == "mine"


def test_words_come_in_any_order(run: Callable[..., Asked]) -> None:
    assert len(run("study=digits", "prune.ratio=0.3,0.5", "-m", "scheme=fp32").wishes) == 2


def test_the_sweeps_own_keys_are_no_points_overrides(run: Callable[..., Asked]) -> None:
    asked = run("study=digits", "+name=mine", "+workers=3")
    assert asked.more["workers"] == 3
    assert asked.wishes[0].overrides == ("study=digits",)


def test_showing_the_configuration_runs_nothing(run: Callable[..., Asked], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--cfg", "job", "study=digits").wishes == ()
    assert "study: digits" in capsys.readouterr().out


def test_hydra_leaves_no_directories_of_its_own(run: Callable[..., Asked], project_root: Path) -> None:
    before = set(project_root.iterdir())
    run("--multirun", "study=digits", "prune.ratio=0.3,0.5")
    assert {path.name for path in set(project_root.iterdir()) - before} <= {".edgeproof"}


# --- one scheme -----------------------------------------------------------------------------------------------------


def test_a_scheme_is_that_of_every_model_but_the_baseline(run: Callable[..., Asked]) -> None:
    params = run("study=fashion_mnist", "scheme=fp16").wishes[0].params
    schemes = {item.model: item.schemes for item in params.export.values()}
    assert schemes.pop("teacher") == ["fp32"]
    assert len(schemes) == 5
    assert all(of_model == ["fp16"] for of_model in schemes.values())
    assert params.report.final == {"student_slim": ["fp16"]}


# --- what is wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
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
        (["+name=../mine"], ["name", "pattern"]),
        (["+workers=0"], ["workers", "greater than or equal to 1"]),
        (["--multirun", "+workers=1,2"], ["can't differ between its points"]),
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
def test_what_is_wrong_is_one_message_and_nothing_runs(
    run: Callable[..., Asked], words: list[str], told: list[str]
) -> None:
    with pytest.raises(EdgeproofError) as caught:
        run("study=digits", *words) if not any(word.startswith("study=") for word in words) else run(*words)
    for text in told:
        assert text in str(caught.value)
    assert "full_key" not in str(caught.value)


def test_a_missing_launcher_is_named_with_the_package_it_comes_with(
    run: Callable[..., Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra.core.config_store import ConfigStore

    monkeypatch.setattr(ConfigStore, "list", lambda self, group: ["basic.yaml"])
    with pytest.raises(UnknownName, match=r"unknown launcher 'submitit_local'.*pip install hydra-submitit-launcher"):
        sweep._launch(["hydra/launcher=submitit_local"])


def test_a_launchers_options_are_checked_before_anything_runs(run: Callable[..., Asked]) -> None:
    from hydra.core.config_store import ConfigStore

    node = {"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher", "jobs": 1}
    ConfigStore.instance().store("far", node, group="hydra/launcher", provider="test")
    assert run("study=digits", "hydra/launcher=far", "+hydra.launcher.more=2").more["launch"] is not None
    with pytest.raises(ConfigError, match=r"jbos"):
        run("study=digits", "hydra/launcher=far", "hydra.launcher.jbos=2")


# --- a search's space -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grammar", "axis"),
    [
        ("interval(0.1, 0.6)", search.Range(0.1, 0.6, None, False, False)),
        ("interval(1, 8)", search.Range(1, 8, None, False, False)),
        ("tag(log, interval(0.01, 1.0))", search.Range(0.01, 1.0, None, True, False)),
        ("range(2, 7)", search.Range(2, 6, 1, False, True)),
        ("range(2, 9, 2)", search.Range(2, 8, 2, False, True)),
        ("choice(fp32, int8-static)", search.Choice(("fp32", "int8-static"))),
        ("1,2,4", search.Choice(("1", "2", "4"))),
        ("7", search.Choice(("7",))),
    ],
)
def test_a_space_is_read_in_hydras_grammar(grammar: str, axis: object) -> None:
    assert sweep._axis("prune.ratio", grammar) == axis


@pytest.mark.parametrize("grammar", ["interval(0.6, 0.1)", "range(5, 1)", "interval(1"])
def test_an_empty_or_broken_space_is_one_message(grammar: str) -> None:
    with pytest.raises(ConfigError):
        sweep._axis("prune.ratio", grammar)
