"""Simulate all nodes on this machine: python -m edgeproof_flower.simulate FEDERATION [PROJECT [OUTPUT]]."""

from __future__ import annotations

import os
import sys

from edgeproof_flower.configuration import name_variable


def main() -> None:
    """Run the apps with one node for each client."""
    # Flower and Ray send no statistics of use. Both read this when they are imported.
    os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    for key, value in zip(("federation", "project", "output"), sys.argv[1:], strict=False):
        os.environ[name_variable(key)] = value
    from flwr.simulation import run_simulation

    from edgeproof_flower import client_app, federation, server_app

    loaded = federation.load(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ".")
    run_simulation(
        server_app=server_app.app,
        client_app=client_app.app,
        num_supernodes=len(loaded.shares),
        backend_config={"client_resources": {"num_cpus": loaded.settings.threads}},
    )


if __name__ == "__main__":
    main()
