"""Releases: everything that makes an answer what it is, numbered and never changed; tags point at them."""
