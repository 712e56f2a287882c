"""Unit tests: one file per module, no network, no hardware, no sleep."""
