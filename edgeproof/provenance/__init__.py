"""Provenance of results: explain cells, reproduce them, compare them, and bundle or register their artifacts.

May import everything below it: report, study, records, statistics, devices, config, deployed and core.
"""
