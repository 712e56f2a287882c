"""The runner: the program that measures on a device. It ships as a zipapp with one runtime.

It may import core and the runtime, and no other package of edgeproof.
"""
