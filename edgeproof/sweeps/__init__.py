"""Sweeps: many points of a study, each a whole study, sharing every stage that they have in common."""
