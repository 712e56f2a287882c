"""Parameters of a farm's runs."""

from __future__ import annotations

from typing import Any

from edgeproof.config import params_file
from edgeproof.config.params import BenchParams, Params
from edgeproof.farm import engines
from tests.support.bench_project import ITEM


def write_params(base: Params, run: str, *, task: str = "digits", **changes: Any) -> None:
    """Write the parameters of a run that was to measure one artifact on the board.

    Args:
        base: a study to change.
        changes: other parameters of the session.
    """
    item = {**ITEM, "device": "board", "artifacts": {"m": ["fp32"]}, "final": {}, "seeds": [4], "all": ITEM["every"]}
    bench = {"board_matrix": BenchParams.model_validate({**item, **changes})}
    renamed_task = base.task.model_copy(update={"name": task})
    params = base.model_copy(update={"study": "study", "task": renamed_task, "bench": bench})
    params_file.write_params(params, "test", engines.FARM / run / engines.PARAMS)
