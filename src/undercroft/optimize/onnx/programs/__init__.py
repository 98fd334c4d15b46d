"""Files that another Python runs, that of an environment; they import nothing of Undercroft."""
