"""Records of measurements: reading and writing, signatures, migrations, and the columnar store with its queries.

`kinds` imports nothing. All other modules may import core, statistics, paths and progress, but no higher package.
"""
