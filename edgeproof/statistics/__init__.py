"""Statistics of measurements: intervals, effective sample sizes, A/B tests and change points.

Everything is computed from arrays and numbers. Of edgeproof, only `core.errors` may be imported here.
"""
