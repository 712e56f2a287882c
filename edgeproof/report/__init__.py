"""Tables and plots of results: rows from records, the registry of figures, study tables, grids in several formats.

May import records, statistics, config and core. Nothing here measures or builds anything.
"""
