"""bench: measure every artifact of one runtime on one device."""

from __future__ import annotations

from edgeproof import entry


def main() -> None:
    """Run the session named on the command line."""
    from edgeproof.bench import session
    from edgeproof.config import params_file

    study = params_file.read_params()
    session.run_study_session(params_file.read_stage_argument("session", study.bench), study)


if __name__ == "__main__":
    entry.run(main)
