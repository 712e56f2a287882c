"""Preparing a task's data: its sources, its splits on disk, and the memory layout of samples.

May import config, core, paths and progress.
"""
