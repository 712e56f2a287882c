"""The configuration: device cards, studies and their composition from conf/ into params.yaml.

Only compose.py may import Hydra.
"""
