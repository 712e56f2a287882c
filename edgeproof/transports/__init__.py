"""One file a transport: how files and commands reach a device."""
