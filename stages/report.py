"""report: write the tables, the plots and DVC's metrics from the records."""

from __future__ import annotations

from edgeproof import entry


def main() -> None:
    """Write the report of the study in params.yaml."""
    from edgeproof.config import params_file
    from edgeproof.report import study_report

    study_report.write_study_report(params_file.read_params())


if __name__ == "__main__":
    entry.run(main)
