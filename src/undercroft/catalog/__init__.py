"""Families of open models: shapes, licences, languages. Data with its source, and what reads it; no network."""
