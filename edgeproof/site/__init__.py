"""A static site of all measured results. It needs no server and no network: its pages open from a file.

It may import edgeproof.report, edgeproof.records, edgeproof.statistics, and edgeproof.farm for its alarms.
"""
