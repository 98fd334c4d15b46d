"""Pruning: a model without the blocks, heads or channels that matter least to texts of its user's, or with zeros."""
