"""Federated learning: clients train on their own samples, a server averages their updates.

One file each: who holds which samples, who takes part, how a client trains, how updates are encoded, how the server
steps, and how rounds run and resume. The package needs torch and numpy only, so that other frameworks can use it.
"""
