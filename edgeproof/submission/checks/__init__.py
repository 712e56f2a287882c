"""Checks of a submission's tree, one file for each part of it. They trust nothing that they read.

Every check adds its problems to the scanned tree and raises nothing.
"""
