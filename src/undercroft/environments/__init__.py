"""Environments of their own: Python packages that cannot, or need not, live beside Undercroft's."""
