"""One file a network: code that builds an untrained module."""
