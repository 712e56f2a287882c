"""Many devices, measured every night: a worker a device, a process a session, and a journal that outlives a crash."""
