"""Build and run an emulated board: Debian's own packages as an arm64 system under QEMU, reached by ssh like any device.

May import devices, config and core, but not the command line.
"""
