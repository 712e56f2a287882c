"""Transports: how files and commands reach a device. One file a transport.

A transport may import connection, core and config, and no other transport.
"""
