"""Run a study at many points: grids and searches whose points share their common stages.

It may import study, report, config and their dependencies, but not the command line or the farm.
"""
