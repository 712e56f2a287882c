"""Tools for transports: commands with a time limit, checked file transfer, and any device behind a POSIX shell.

May import core only.
"""
