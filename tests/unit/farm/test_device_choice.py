"""The devices of a run, when cards are wrong: the other devices are measured, and each wrong card is one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgeproof.cli import main
from edgeproof.config import cards
from edgeproof.config.params import Params
from edgeproof.core.errors import ConfigError, UnknownNameError
from edgeproof.farm import dispatcher, engines, run_params
from edgeproof.farm.device_choice import choose_devices
from edgeproof.study import repro
from tests.support.farm_nights import write_night
from tests.support.project import ROOT

GOOD = "transport: local\nthreads: 1\ntags: [kitchen]\n"
BAD_CARDS = {
    "no_yaml": "transport: [",
    "unknown_key": "transport: local\nthreads: 1\ncolour: red\n",
    "many_problems": "transport: local\nthreads: 0\ncores: [-1]\ncolour: red\n",
    "unknown_transport": "transport: pigeon\nthreads: 1\n",
    "no_mapping": "- a\n",
    "no_text": "\udcff",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the configuration, with the good devices 'desk', 'lap' and 'local' and one bad card of each kind."""
    monkeypatch.delenv("EDGEPROOF_PLUGINS", raising=False)
    shutil.rmtree(tmp_path / "conf")
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copyfile(ROOT / "requirements.lock", tmp_path / "requirements.lock")
    (tmp_path / "devices").mkdir()
    for name in ("desk", "lap", "local"):
        write_card(name, GOOD)
    for name, text in BAD_CARDS.items():
        write_card(name, text)
    return tmp_path


def write_card(name: str, text: str) -> None:
    (cards.CARDS / f"{name}.yaml").write_bytes(text.encode(errors="surrogateescape"))


@pytest.mark.parametrize("bad", BAD_CARDS)
def test_a_device_with_a_wrong_card_is_left_out_and_reported(project: Path, bad: str) -> None:
    choice = choose_devices(None, ["desk", bad, "lap"])
    assert choice.devices == ["desk", "lap"]
    assert list(choice.errors) == [bad]


def test_a_tag_selects_readable_cards_and_reports_those_whose_tags_are_unknown(project: Path) -> None:
    choice = choose_devices(None, ["tag:kitchen"])
    assert choice.devices == ["desk", "lap", "local"]
    assert set(choice.errors) == set(BAD_CARDS)


def test_wrong_cards_of_other_devices_do_not_matter(project: Path) -> None:
    assert choose_devices(None, ["desk"]).errors == {}
    assert choose_devices("digits", None) == choose_devices(None, None)
    assert choose_devices("digits", None).devices is None


def test_a_misspelt_device_and_a_run_without_a_readable_card_are_refused(project: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'desk'\?"):
        choose_devices(None, ["dsk"])
    with pytest.raises(ConfigError, match=r"no device is left to measure\. .*unknown transport 'pigeon'"):
        choose_devices(None, ["unknown_transport"])


def test_the_studys_other_devices_run_when_the_card_of_one_is_wrong(project: Path) -> None:
    study = project / "conf/study/digits.yaml"
    study.write_text(study.read_text().replace("devices: [local]", "devices: [local, lap]"))
    write_card("lap", "transport: [")
    choice = choose_devices("digits", None)
    assert choice.devices == ["local"]
    assert list(choice.errors) == ["lap"]


def test_a_run_goes_on_while_a_card_is_broken_and_after_its_repair(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repro.WORKTREES / "digits" / "artifacts").mkdir(parents=True)

    def prepare(*words: str) -> set[str]:
        choice = choose_devices("digits", words)
        params, _ = run_params.prepare_run("digits", choice.devices, "night", choice.errors)
        return {item.device for item in params.bench.values()}

    def read_stored_devices() -> set[str]:
        from edgeproof.config import params_file

        stored = params_file.read_params(engines.FARM / "night" / engines.PARAMS)
        return {item.device for item in stored.bench.values()}

    write_card("lap", "transport: [")
    assert prepare("desk", "lap") == read_stored_devices() == {"desk"}
    write_card("lap", GOOD)
    assert prepare("desk", "lap") == read_stored_devices() == {"desk", "lap"}
    write_card("desk", "transport: [")
    assert prepare("desk", "lap") == {"lap"}
    assert read_stored_devices() == {"desk", "lap"}
    write_card("desk", GOOD)
    with pytest.raises(ConfigError, match="started with other parameters"):
        prepare("desk")


def test_the_command_measures_the_good_devices_prints_one_line_for_each_bad_card_and_exits_with_1(
    project: Path, digits_study: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = []
    write_night(1)
    write_night(2)
    monkeypatch.setattr(run_params, "prepare_run", lambda *words: (chosen.append(words[1]), (digits_study, Path()))[1])
    monkeypatch.setattr(dispatcher, "run_study", lambda *_: {"board_matrix": "done"})
    argv = ["farm", "run", "--name", "2026-01-02", "--devices"]
    assert main.run([*argv, "desk"]) == 0
    capsys.readouterr()
    assert main.run([*argv, "desk,many_problems,no_yaml"]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("skipped device")]
    assert [line.split("'")[1] for line in lines] == ["many_problems", "no_yaml"]
    assert all("colour" in line for line in lines[:1])
    assert chosen == [["desk"], ["desk"]]
