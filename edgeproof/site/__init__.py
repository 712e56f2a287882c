"""A static site of all measured results. It needs no server and no network: its pages open from a file.

It may import edgeproof.report, edgeproof.records and edgeproof.statistics, edgeproof.farm for its alarms,
edgeproof.provenance to find artifacts, and edgeproof.config for the study and the devices' titles.
"""
