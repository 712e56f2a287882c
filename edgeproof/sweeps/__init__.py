"""Run a study at many points: grids and searches whose points share their common stages.

May import study, report, config and what they import, but not the command line or the farm.
"""
