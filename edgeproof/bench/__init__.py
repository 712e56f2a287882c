"""A benchmark session: plan its jobs, run them on a device, judge each run, and write the records.

May import devices, records, report, artifacts, data, config and core. Only cli, farm and stages import it.
"""
