"""Looks into files that nobody has looked into yet, with bounds on everything, before anything else reads them."""
