"""train, distill, prune and quantize: build one model of the study with its method.

python -m stages.model KEY
"""

from __future__ import annotations

from edgeproof import entry


def main() -> None:
    """Build the model named on the command line."""
    from edgeproof.config import params_file
    from edgeproof.models import build

    study = params_file.read_params()
    build.build(params_file.read_stage_argument("model", study.map_models()), study)


if __name__ == "__main__":
    entry.run(main)
