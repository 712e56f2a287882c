"""A device seen from the host: its card's checks, its tools, locks, and the runner that ships to it.

It never imports the runner or a transport. pyproject.toml lists what each package may import.
"""
