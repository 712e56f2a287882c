"""Conversion of torch and TensorFlow models to the runtimes' file formats, and their quantization, on the host alone.

One file for each format. A runtime's export() imports its converter; devices never receive one. Imports core alone.
"""
