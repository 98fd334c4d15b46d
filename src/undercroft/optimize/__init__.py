"""Optimize: jobs that read models and make new ones, with their lineage."""
