"""A device seen from the host: its card's checks, its tools, locks, and the runner that ships to it.

May import connection, config, records and core. It never imports the runner or a transport.
"""
