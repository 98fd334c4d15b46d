"""Tests of what makes published models smaller."""
