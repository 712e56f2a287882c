"""Artifacts of external files: models or exported files that were made elsewhere and that a user brings.

Imports what edgeproof/artifacts may. `adopt` builds the artifacts; the other modules read files and data.
"""
