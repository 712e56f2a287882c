"""Kinds of tasks: each reads a user's own data. A file here is a kind, and conf/tasks/<name>.yaml names it.

May import data, config and core. A kind never imports another plugin, and runs on the host only.
"""
