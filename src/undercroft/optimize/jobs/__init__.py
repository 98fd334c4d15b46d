"""Jobs: what was asked for, the process that does it, how far it is, and what came of it."""
