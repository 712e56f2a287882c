"""A benchmark session: plan its jobs, run them on a device, judge each run, and write the records."""
