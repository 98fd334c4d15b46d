"""Students of a new shape."""
