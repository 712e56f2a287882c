"""Artifacts: a model exported for one runtime in one scheme, from a study's models or from files that users bring.

Imports core, config, data, models and records. Runtimes are loaded by name.
"""
