"""Triton model repositories: what their settings may say, whether they belong together, and what may run in them."""
