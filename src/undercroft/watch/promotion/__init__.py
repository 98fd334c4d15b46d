"""Promotions in the server: what a candidate is judged by, and what happens next."""
