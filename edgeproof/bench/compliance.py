"""MLPerf's compliance runs: the same measurement under an audit.config, which shows that the harness does not cheat.

TEST01 logs some responses of a performance run, which must equal those of the accuracy run. TEST04 gives every query
the same sample, which must not be faster, because nothing may be cached.
"""

from __future__ import annotations

from edgeproof.config.params import Compliance

# The keys and values of mlcommons/inference v6.1, compliance/TEST01/resnet50 and compliance/TEST04.
AUDITS: dict[Compliance, str] = {
    "TEST01": """\
*.*.mode = 2
*.*.accuracy_log_rng_seed = 720381539243781796
*.*.accuracy_log_sampling_target = 4096
""",
    "TEST04": """\
*.*.mode = 2
*.*.performance_issue_unique = 0
*.*.performance_issue_same = 1
*.*.performance_issue_same_index = 3
""",
}


def name_scenario(test: Compliance, base: str) -> str:
    """Return the name under which a session records the compliance run of the scenario `base`."""
    return f"{base}_{test.lower()}"


def split_scenario(name: str) -> tuple[Compliance | None, str]:
    """Return the compliance test and the scenario of a recorded name. The test is None for an ordinary run."""
    for test in AUDITS:
        if name.endswith(suffix := f"_{test.lower()}"):
            return test, name.removesuffix(suffix)
    return None, name
