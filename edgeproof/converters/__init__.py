"""Conversion of torch and TensorFlow models to the runtimes' file formats, and their quantization, on the host only.

One file for each format. A runtime's export() imports its converter, which never ships to a device. It imports core
only.
"""
