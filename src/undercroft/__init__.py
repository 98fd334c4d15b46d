"""Undercroft: small language models in your own cellar."""

__version__ = "0.1.0"
