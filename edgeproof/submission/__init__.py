"""MLPerf submissions: write one from official records, check one more strictly than MLPerf's checkers.

Reads records of edgeproof.records. It may import edgeproof.core and edgeproof.records, nothing else of edgeproof.
"""
