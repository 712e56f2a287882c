"""Networks, one file each: every file builds one architecture with random weights.

A network may import core, never another network. The directory is the registry, so no code belongs here.
"""
