"""Projected embeddings, compared with numpy's singular value decomposition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgeproof.core.errors import ConfigError
from edgeproof.models.embedding_projection import find_directions, project_embeddings


def build_network(width: int, rows: int = 40) -> nn.Module:
    torch.manual_seed(width)
    return nn.ModuleDict({"words": nn.Embedding(rows, width), "positions": nn.Embedding(5, width)})


def read_table(module: nn.Module, name: str) -> np.ndarray:
    table: np.ndarray = module.get_submodule(name).weight.detach().numpy().astype(np.float64)
    return table


def test_the_projection_is_the_best_approximation_of_its_width() -> None:
    student, teacher = build_network(6), build_network(16)
    directions = project_embeddings(student, teacher, ["words"]).double().numpy()
    table = read_table(teacher, "words")
    left = table - read_table(student, "words") @ directions.T
    singular = np.linalg.svd(table, compute_uv=False)
    assert np.square(left).sum() == pytest.approx(np.square(singular[6:]).sum(), rel=1e-5)
    np.testing.assert_allclose(directions.T @ directions, np.eye(6), atol=1e-6)


def test_the_first_embedding_decides_the_directions_of_all() -> None:
    student, teacher = build_network(6), build_network(16)
    directions = project_embeddings(student, teacher, ["words", "positions"]).numpy()
    np.testing.assert_allclose(
        read_table(student, "positions"), read_table(teacher, "positions") @ directions, rtol=1e-4, atol=1e-5
    )


def test_equal_widths_keep_the_table_as_it_is() -> None:
    student, teacher = build_network(16), build_network(16)
    nn.init.zeros_(student.get_submodule("words").weight)
    project_embeddings(student, teacher, ["words"])
    np.testing.assert_array_equal(read_table(student, "words"), read_table(teacher, "words"))


def test_the_same_table_gives_the_same_directions_to_the_bit() -> None:
    table = build_network(16).get_submodule("words").weight
    assert torch.equal(find_directions(table, 6), find_directions(table.clone(), 6))


@pytest.mark.parametrize(
    ("student", "name", "message"),
    [
        (build_network(6), "letters", "the student has no embedding 'letters'. It has: words, positions"),
        (build_network(6, rows=7), "words", r"embedding 'words' is \(7, 6\) in the student and \(40, 16\)"),
        (build_network(20), "words", "embeddings of width 16 can't be projected to 20"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(student: nn.Module, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        project_embeddings(student, build_network(16), [name])
