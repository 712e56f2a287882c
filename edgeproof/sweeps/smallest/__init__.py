"""Search for the smallest model that meets a target within a budget, as trials, rungs and points of a sweep."""
