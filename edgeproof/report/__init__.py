"""Statistics, comparison tables and plots, computed from records on read."""
