"""Metrics, one file each: the evidence of a quality, and the quality of some evidence. A metric may import statistics.

The name of a file here is the name of the metric; edgeproof/statistics/metric.py describes its contract.
"""
