"""Requirements of MLPerf Inference v6.1 and MLPerf Tiny v1.4 for runs and submissions.

Sources: the submission rules, mlperf.conf of LoadGen 6.0, and the official submission checkers, which agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeproof.records.kinds import OFFICIAL, OFFICIAL_TINY

Suite = Literal["inference", "tiny"]
SCENARIOS = ("SingleStream", "MultiStream", "Offline", "Server")
MIN_DURATION_MS = 600_000
# MLPerf Tiny's runner (mlcommons/tiny, benchmark/runner/main.py) takes the median of five runs of at least ten seconds.
TINY_MIN_DURATION_MS = 10_000
TINY_RUNS = 5
# The presets whose records each suite accepts. The first one measures no longer than the suite's rules demand.
SUITE_PRESETS: dict[Suite, tuple[str, ...]] = {"inference": (OFFICIAL,), "tiny": (OFFICIAL_TINY, OFFICIAL)}
# The result that MLPerf publishes for each scenario: its key in the detail log and its name in the summary.
METRICS = {
    "SingleStream": ("early_stopping_latency_ss", "Early stopping 90.0th percentile estimate"),
    "MultiStream": ("early_stopping_latency_ms", "Early stopping 99.0th percentile estimate"),
    "Offline": ("result_samples_per_second", "Samples per second"),
    "Server": ("result_completed_samples_per_sec", "Completed samples per second"),
}
SEEDS = {
    "qsl_rng_seed": 2085463073848966840,
    "sample_index_rng_seed": 2747215439041700203,
    "schedule_rng_seed": 16159082839903944936,
}
TARGET_PERCENTILES = {"SingleStream": 0.9, "MultiStream": 0.99, "Server": 0.99}
# The smallest numbers of queries for which LoadGen's early stopping confirms these percentiles with 99% confidence.
MIN_QUERIES = {"SingleStream": 64, "MultiStream": 662, "Server": 459, "Offline": 1}
MULTI_STREAM_SAMPLES = 8
# Samples in one Offline query. A data set that is smaller is queried as a whole.
MIN_OFFLINE_SAMPLES = 24_576

MAX_ACCURACY_LOG_BYTES = 10 * 1024
MAX_FILE_BYTES = 50 * 1024 * 1024

# Settings in LoadGen's log of a run without audit.config, and of a run with the audit.config of a compliance test.
UNAUDITED_SETTINGS = {
    "effective_accuracy_log_probability": 0,
    "effective_accuracy_log_sampling_target": 0,
    "effective_performance_issue_unique": False,
    "effective_performance_issue_same": False,
}
AUDITED_SETTINGS = {
    "TEST01": {
        **UNAUDITED_SETTINGS,
        "effective_accuracy_log_rng_seed": 720381539243781796,
        "effective_accuracy_log_sampling_target": 4096,
    },
    "TEST04": {
        **UNAUDITED_SETTINGS,
        "effective_performance_issue_same": True,
        "effective_performance_issue_same_index": 3,
    },
}


@dataclass(frozen=True)
class BenchmarkRules:
    """Requirements of the checker for one of MLPerf's benchmarks, and so for a model mapped to it."""

    performance_samples: int
    server_latency_ns: int


# MLPerf's names of the scores by the metrics that give them.
SCORES = {"accuracy": "top-1 accuracy", "auc": "the area under the ROC curve"}
# The benchmarks that are scored by top-1 accuracy.
INFERENCE_BENCHMARKS = {"resnet": BenchmarkRules(performance_samples=1024, server_latency_ns=15_000_000)}

# MLPerf Tiny's benchmarks by directory name, each with the reason why it cannot be submitted, or ''.
TINY_BENCHMARK_HINDRANCES = {
    "ic": "",
    "kws": "",
    "vww": "",
    "ic2": "its rules also require ic on the same system, but a system here has one model",
    "ad": "",
    "sww": "it streams audio and counts detections, which LoadGen cannot do",
}

# The metric that scores each of MLPerf Tiny's benchmarks that can be submitted.
TINY_METRICS = {"ic": "accuracy", "kws": "accuracy", "vww": "accuracy", "ad": "auc"}

STATUSES = ("available", "preview", "rdi")

# Fields of systems/<system>.json. True: the text must not be empty.
INFERENCE_SYSTEM_FIELDS = {
    "division": True,
    "submitter": True,
    "status": True,
    "system_type": True,
    "system_type_detail": False,
    "system_name": True,
    "number_of_nodes": True,
    "host_processor_model_name": True,
    "host_processors_per_node": True,
    "host_processor_core_count": True,
    "host_processor_frequency": False,
    "host_processor_caches": False,
    "host_processor_interconnect": False,
    "host_memory_capacity": True,
    "host_memory_configuration": True,
    "host_storage_capacity": True,
    "host_storage_type": True,
    "host_networking": True,
    "host_network_card_count": True,
    "host_networking_topology": True,
    "accelerators_per_node": True,
    "accelerator_model_name": True,
    "accelerator_memory_capacity": True,
    "accelerator_memory_configuration": True,
    "accelerator_host_interconnect": True,
    "accelerator_interconnect": True,
    "accelerator_interconnect_topology": False,
    "accelerator_frequency": False,
    "accelerator_on-chip_memories": False,
    "cooling": True,
    "framework": True,
    "operating_system": True,
    "other_software_stack": True,
    "hw_notes": False,
    "sw_notes": False,
}
# Fields of measurements.json.
MEASUREMENT_FIELDS = (
    "input_data_types",
    "retraining",
    "starting_weights_filename",
    "weight_data_types",
    "weight_transformations",
)
