"""Run by the Python of an environment, or of a device; they import nothing of ours but each other."""
