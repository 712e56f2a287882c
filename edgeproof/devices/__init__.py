"""A device seen from the host: its card's checks, its tools, locks, and the runner that ships to it.

May import config, connection and core. Never imports the runner itself.
"""
