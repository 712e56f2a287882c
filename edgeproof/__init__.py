"""Compress a neural network, measure it on real devices, and publish a table whose cells can be reproduced."""

__version__ = "0.1.0"
