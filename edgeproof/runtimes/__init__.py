"""Runtimes: one file for each inference engine, with export() for the host and Session for the device.

At module level a runtime imports only core, numpy and the standard library. The engine is imported where it is used,
and converters and models inside export().
"""
