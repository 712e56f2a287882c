"""Methods, one file each: every file makes a model from its parent with one technique.

A method never imports another method. The directory is the registry, so no code belongs here.
"""
