"""A board without hardware: Debian's own packages as an arm64 system under QEMU, reached by ssh like any other."""
