"""Compress a network, measure it on real devices, publish a table in which every cell can be regenerated."""

__version__ = "0.1.0"
