"""What MLPerf Inference v6.1 asks of a run, as figures: its rules, LoadGen 6.0's mlperf.conf and its checker agree."""

from __future__ import annotations

from dataclasses import dataclass

VERSION = "v6.1"
TINY_VERSION = "v1.4"
SCENARIOS = ("SingleStream", "MultiStream", "Offline", "Server")
MIN_DURATION_MS = 600_000
SEEDS = {
    "qsl_rng_seed": 2085463073848966840,
    "sample_index_rng_seed": 2747215439041700203,
    "schedule_rng_seed": 16159082839903944936,
}
TARGET_PERCENTILES = {"SingleStream": 0.9, "MultiStream": 0.99, "Server": 0.99}
# The fewest queries with which LoadGen's early stopping can hold at these percentiles with 99% confidence.
LEAST_QUERIES = {"SingleStream": 64, "MultiStream": 662, "Server": 459, "Offline": 1}
MULTI_STREAM_SAMPLES = 8
# In one Offline query; the whole data set where that is smaller.
OFFLINE_SAMPLES = 24_576

ACCURACY_LOG_BYTES = 10 * 1024
FILE_BYTES = 50 * 1024 * 1024

# Which settings LoadGen's log shows in an ordinary run and under each compliance test's audit.config.
ORDINARY = {
    "effective_accuracy_log_probability": 0,
    "effective_accuracy_log_sampling_target": 0,
    "effective_performance_issue_unique": False,
    "effective_performance_issue_same": False,
}
AUDITED = {
    "TEST01": {
        **ORDINARY,
        "effective_accuracy_log_rng_seed": 720381539243781796,
        "effective_accuracy_log_sampling_target": 4096,
    },
    "TEST04": {
        **ORDINARY,
        "effective_performance_issue_same": True,
        "effective_performance_issue_same_index": 3,
    },
}


@dataclass(frozen=True)
class Benchmark:
    """What the checker asks of one of MLPerf's own benchmarks, and so of a model that is mapped to it."""

    performance_samples: int
    server_latency_ns: int


# Those that are scored by the share of right answers, as every task here is.
BENCHMARKS = {"resnet": Benchmark(performance_samples=1024, server_latency_ns=15_000_000)}

# MLPerf Tiny's, by the folder's name: why this one cannot be submitted, or nothing.
TINY_BENCHMARKS = {
    "ic": "",
    "kws": "",
    "vww": "",
    "ic2": "its rules ask for ic on the same system too, and a system here holds one model",
    "ad": "it is scored by the area under the ROC curve, which no task here reports",
    "sww": "it streams audio and counts detections, which LoadGen does not do",
}

STATUSES = ("available", "preview", "rdi")

# systems/<system>.json: True where the checker wants more than an empty text.
SYSTEM_FIELDS = {
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
MEASUREMENT_FIELDS = (
    "input_data_types",
    "retraining",
    "starting_weights_filename",
    "weight_data_types",
    "weight_transformations",
)
