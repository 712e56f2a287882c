"""Measure a study on many devices every night, and find regressions in their history.

May import bench, study, devices, report and what they import, but not the command line.
"""
