"""Measures this machine: memory, disk, matrix products, copies to and from GPUs."""
