"""Artifacts of external files: models or exported files that users made with other tools.

It may import the same packages as edgeproof/artifacts. `adopt` builds the artifacts; the other modules read files and
data.
"""
