"""One file a task: a data set, its preprocessing and its score."""
