"""Bundles: one signed file with models, releases, standard questions and wheels, for machines without internet."""
