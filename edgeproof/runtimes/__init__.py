"""One file a runtime: export() on the host, Session on the device."""
