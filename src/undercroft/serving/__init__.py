"""Serving on one machine: what should run, what runs, and the loop that makes them the same."""
