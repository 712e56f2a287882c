"""Build, train, evaluate and store the models of a study, with the building blocks that methods share.

May import data, config and core. torch, torchao and Keras are used here and in the plugins.
"""
