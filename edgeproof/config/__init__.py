"""The configuration: device cards, studies and their composition from conf/ into params.yaml.

May import core, and records for the names of scenarios. Only compose.py may import Hydra.
"""
