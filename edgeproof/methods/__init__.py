"""One file a method: makes a model from its parent."""
