"""Start a narrow network's embeddings as those of a wider one, projected onto a few directions.

The directions are the leading right singular vectors of the wide table, so no other projection of its width loses less
in the sum of squares: Eckart, Young, "The Approximation of One Matrix by Another of Lower Rank" (1936). A student then
knows words that its own training data hold rarely or never.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from edgeproof.core.errors import ConfigError


@torch.no_grad()
def project_embeddings(student: nn.Module, teacher: nn.Module, names: Sequence[str]) -> torch.Tensor:
    """Replace the student's embeddings `names` by projections of the teacher's embeddings of the same names.

    The first name decides the directions. Returns them as a matrix (teacher's width, student's width). Raises
    ConfigError for a name that is no embedding of both networks, or tables whose shapes do not fit.
    """
    pairs = [(_find_embedding(student, "student", name), _find_embedding(teacher, "teacher", name)) for name in names]
    width = pairs[0][0].embedding_dim
    directions = find_directions(pairs[0][1].weight, width)
    for name, (ours, theirs) in zip(names, pairs, strict=True):
        expected = theirs.num_embeddings, width
        if tuple(ours.weight.shape) != expected or theirs.embedding_dim != len(directions):
            raise ConfigError(
                f"embedding '{name}' is {tuple(ours.weight.shape)} in the student and {tuple(theirs.weight.shape)} in "
                f"the teacher. Give both the same number of rows, and all embeddings of one network the same width."
            )
        ours.weight.copy_(theirs.weight @ directions)
    return directions


def find_directions(table: torch.Tensor, count: int) -> torch.Tensor:
    """Return the leading right singular vectors (width, count) of a table (rows, width), in float32.

    They are computed from the products of its columns, in float64. For all directions it is the identity: the table
    then stays as it is, because distillation compares layers of equal widths without an adapter. Raises ConfigError if
    there are fewer than `count`.
    """
    if count > table.shape[1]:
        raise ConfigError(
            f"embeddings of width {table.shape[1]} can't be projected to {count}. Choose a student that is not wider."
        )
    if count == table.shape[1]:
        return torch.eye(count)
    columns = table.detach().double()
    _, vectors = torch.linalg.eigh(columns.T @ columns)  # ascending eigenvalues
    directions: torch.Tensor = vectors.flip(1)[:, :count].float()
    return directions


def _find_embedding(module: nn.Module, role: str, name: str) -> nn.Embedding:
    layer = dict(module.named_modules()).get(name)
    if isinstance(layer, nn.Embedding):
        return layer
    known = [name for name, layer in module.named_modules() if isinstance(layer, nn.Embedding)]
    raise ConfigError(f"the {role} has no embedding '{name}'. It has: {', '.join(known) or 'none'}.")
