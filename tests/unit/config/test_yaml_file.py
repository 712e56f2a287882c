"""YAML that a user wrote: every way to break it is one error with the file and the line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from edgeproof.config.yaml_file import MAX_BYTES, MAX_DEPTH, parse_yaml, read_yaml
from edgeproof.core.errors import ConfigError
from tests.support.project import ROOT

# Each level holds the one before ten times: written out, the last one would be 10^10 strings.
ALIAS_BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 10)
)

BROKEN = {
    "syntax": ("a: 1\nb: [1, 2\n", "line 2: not YAML"),
    "tab": ("a:\n\t- 1\n", "line 2: not YAML"),
    "ten thousand digits": ("a: 1\nb: " + "9" * 10_000, "line 2: '9{40}…' is not a valid int"),
    "not an integer": ("a: !!int abc", "line 1: 'abc' is not a valid int"),
    "an empty integer": ("a: !!int ''", "line 1: '' is not a valid int"),
    "not a truth value": ("a: !!bool perhaps", "line 1: 'perhaps' is not a valid bool"),
    "an impossible date": ("a: !!timestamp 2026-02-30", "line 1: '2026-02-30' is not a valid timestamp"),
    "brackets without end": ("[" * 100_000, f"line 1: nested deeper than {MAX_DEPTH} levels"),
    "deep indentation": ("".join(f"{' ' * n}a:\n" for n in range(500)), f"line {MAX_DEPTH}: nested deeper"),
    "complex keys without end": ("? " * 5_000, "line 1: nested deeper"),
    "an alias bomb": (ALIAS_BOMB, "line 6: more than 200,000 values, with aliases written out"),
    "an alias in its own anchor": ("a: &a [1, *a]", r"line 1: alias '\*a' is inside its own anchor"),
    "an alias without an anchor": ("a: *b", "line 1: .*undefined alias 'b'"),
    "a duplicate key": ("a: 1\nb: 2\na: 3\n", "line 3: duplicate key 'a', which is in line 1 too"),
    "a duplicate key in braces": ("x:\n  {a: 1, a: 1}", "line 2: duplicate key 'a', which is in line 2 too"),
    "a list as a key": ("? [1, 2]\n: 3\n", "line 1: .*unhashable key"),
    "a Python object": ("a: !!python/object/apply:os.getcwd []", "line 1: could not determine a constructor"),
    "two documents": ("a: 1\n---\nb: 2\n", "line 2: .*another document"),
    "a control character": ("a: \x07", "control characters are not allowed"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_one_error_with_its_name_the_line_and_the_problem(case: str, tmp_path: Path) -> None:
    text, problem = BROKEN[case]
    path = tmp_path / "card.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"card\\.yaml(, |: not YAML: ){problem}") as failure:
        read_yaml(path, "Write it again.")
    assert str(failure.value).endswith(". Write it again.")
    assert len(str(failure.value)) < 500 + len(str(path))


@pytest.mark.parametrize("content", [b"\xff\xfe\xfa", b"a: \xe9\n"])
def test_a_file_that_is_not_utf8_is_an_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"card\.yaml is not UTF-8 text"):
        read_yaml(tmp_path / "card.yaml")


def test_a_file_that_is_too_large_is_not_parsed(tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_text("#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match=r"card\.yaml is larger than 4 MB"):
        read_yaml(tmp_path / "card.yaml")


def test_a_missing_file_and_a_directory_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml cannot be read: No such file"):
        read_yaml(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_yaml(tmp_path)


def test_every_yaml_file_of_the_project_means_the_same_as_in_plain_pyyaml() -> None:
    paths = [*ROOT.glob("conf/**/*.yaml"), *ROOT.glob("devices/*.yaml"), ROOT / "params.yaml", ROOT / "dvc.yaml"]
    assert len(paths) > 40
    for path in paths:
        assert read_yaml(path) == yaml.safe_load(path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("", None),
        ("x: &x {a: 1, b: 2}\ny: {<<: *x, a: 3}\n", {"x": {"a": 1, "b": 2}, "y": {"a": 3, "b": 2}}),
        ("a: &a [1]\nb: [*a, *a]\n", {"a": [1], "b": [[1], [1]]}),
        ("a: 2026-02-30\n", {"a": "2026-02-30"}),
        ("a: " + "[" * (MAX_DEPTH - 2) + "]" * (MAX_DEPTH - 2), {"a": yaml.safe_load("[" * 48 + "]" * 48)}),
    ],
)
def test_merged_keys_few_aliases_and_dates_are_read(text: str, content: object) -> None:
    assert parse_yaml(text, "text") == content
