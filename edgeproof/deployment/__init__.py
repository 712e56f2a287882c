"""Deployment: bring versions to devices, show what runs there, and go back.

The program that works on the device is edgeproof/deployed/deployer.py.
"""
