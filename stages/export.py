"""export: lower a model for a runtime in all its schemes."""

from __future__ import annotations

from edgeproof import entry


def main() -> None:
    """Run the export named on the command line."""
    from edgeproof.artifacts import isolation
    from edgeproof.config import params_file

    study = params_file.read_params()
    isolation.export(study.export[params_file.read_stage_argument("export", study.export)], study.task.name)


if __name__ == "__main__":
    entry.run(main)
