"""Options of a search for the smallest model, as conf/search/<name>.yaml holds them with `goal: smallest`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from edgeproof.config.validation import Frozen, Id
from edgeproof.sweeps.search import SamplerName, SearchOptions


class SmallestOptions(Frozen):
    """Options of a search for the smallest model.

    Attributes:
        within: the budget, such as {size_kb: 16} or {device: pi}.
        target: the quality to reach, in the unit in which tables show it.
        networks: networks to choose from. The first that fits the task is the teacher, if the study names none.
        space: values of teacher, temperature, hard_weight, mixup, ratio and scheme, in Hydra's grammar.
        trials: how many candidates within the budget to train.
        attempts: how many candidates to examine for that, as a multiple of `trials`.
        rungs: how many rungs of short trainings precede the full training.
        reduction: the share of candidates that reaches the next rung is 1 / reduction, and it trains that much longer.
        save_as: the name of the study to write.
        ablation: whether to run the steps from the reference to the winner, too.
    """

    goal: Literal["smallest"]
    within: dict[str, float | str]
    target: float | None
    networks: list[Id] = Field(min_length=1)
    space: dict[str, str]
    trials: PositiveInt
    attempts: PositiveInt
    batch: int = Field(ge=2)
    rungs: int = Field(ge=1, le=6)
    reduction: int = Field(ge=2, le=10)
    sampler: SamplerName
    seed: NonNegativeInt
    save_as: Id | None
    ablation: bool

    def to_search_options(self) -> SearchOptions:
        """Return the options by which Optuna asks for trials, for quality and size."""
        return SearchOptions(
            space=dict.fromkeys(self.networks, "choice"),
            objectives=["quality", "size_bytes"],
            trials=self.trials,
            batch=self.batch,
            sampler=self.sampler,
            seed=self.seed,
        )
