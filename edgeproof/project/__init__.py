"""A user's own project: `edgeproof init` writes it from the files in template/.

May import study, config, core and paths, but not the command line.
"""
