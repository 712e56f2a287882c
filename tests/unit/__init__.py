"""Unit tests: one file a module, no network, no hardware, no sleep."""
