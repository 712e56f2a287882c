"""Kinds of records and their file names. This module imports nothing, so that any package may use it cheaply."""

from __future__ import annotations

# A record's `scenario` is the study's name of a LoadGen scenario (such as single_stream) or one of these kinds.
ACCURACY = "accuracy"
INTERLEAVED = "in_turns"  # the name on disk
PROFILE = "profile"
ESTIMATE = "estimate"
INSTRUCTIONS = "instructions"
UNSUPPORTED = "unsupported"
UNTIMED = (ACCURACY, INTERLEAVED, PROFILE, ESTIMATE, INSTRUCTIONS, UNSUPPORTED)

# LoadGen's own names of its scenarios, as a record's `job.scenario` holds them.
SINGLE_STREAM, MULTI_STREAM, OFFLINE, SERVER = "SingleStream", "MultiStream", "Offline", "Server"

# Presets whose records can be submitted to MLPerf.
OFFICIAL, OFFICIAL_TINY = OFFICIAL_PRESETS = ("official", "official_tiny")

# The method of a model that came as a file instead of from a study.
EXTERNAL_METHOD = "brought"

RECORD_FILE = "record.json"
LATENCIES_FILE, TELEMETRY_FILE = "latencies.npz", "telemetry.csv"
OUTPUTS_FILE, EVIDENCE_FILE = "outputs.npz", "evidence.npz"
