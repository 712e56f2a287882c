"""Run a study from Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeproof.api.calls import prepare_call
from edgeproof.api.table import Table

if TYPE_CHECKING:
    from edgeproof.config.params import Params


class Study:
    """A study of conf/study with overrides, composed and checked.

    Args:
        name: a study in conf/study; by default the one in conf/config.yaml.
        overrides: Hydra overrides, such as "distill.temperature=2" or "preset=quick".

    Attributes:
        params: the checked parameters, which params.yaml holds when the study runs.

    Raises:
        EdgeproofError: the study is unknown, or a value does not fit.

    Example::

        study = edgeproof.Study("digits", "preset=quick")
        table = study.run()
    """

    params: Params

    def __init__(self, name: str | None = None, *overrides: str) -> None:
        with prepare_call():
            from edgeproof.study import repro

            self._name, self._overrides = name, overrides
            self.params = repro.choose_params(name, overrides)

    @property
    def name(self) -> str:
        """The name of the study."""
        return self.params.study

    def run(self) -> Table:
        """Run the study with DVC, as `edgeproof repro` does, and return its table.

        Only stages that changed run. After Ctrl-C or an error, finished stages and finished measurements are kept, and
        the next call continues.

        Raises EdgeproofError if a stage fails.
        """
        with prepare_call():
            from edgeproof.core.errors import EdgeproofError
            from edgeproof.study import repro

            code = repro.run_study(self._name, self._overrides, params=self.params, print_table=lambda _: None)
            if code != 0:
                raise EdgeproofError(
                    f"the study '{self.name}' did not finish: 'dvc repro' ended with code {code}, and its message is "
                    "above. Finished stages are kept: run() continues."
                )
        return self.table()

    def table(self) -> Table:
        """Return the table of the last run. Raises EdgeproofError if there is none, or other parameters made it."""
        with prepare_call():
            from edgeproof.config import params_file
            from edgeproof.core.errors import EdgeproofError
            from edgeproof.paths import RECORDS, TABLES
            from edgeproof.study import repro

            in_place = repro.is_committed_study(self._name, self._overrides)
            tables = TABLES if in_place else repro.RESULTS / self.name / "tables"
            if not (tables / "table.json").is_file():
                raise EdgeproofError(f"the study '{self.name}' has no table yet. Run it first: run().")
            last = params_file.read_params() if in_place else repro.read_last_params(self.name)
            if last != self.params:
                raise EdgeproofError(f"{tables} was made with other parameters than this study's. Run it first: run().")
            return Table.read(tables, records=RECORDS if in_place else repro.locate_study(self.params) / RECORDS)

    def __repr__(self) -> str:
        arguments = [name for name in (self._name, *self._overrides) if name is not None]
        return f"Study({', '.join(map(repr, arguments))})"
