"""The program inside a deployment bundle: it verifies the bundle, then infers.

It needs the standard library, numpy and one runtime, and imports core only.
"""
