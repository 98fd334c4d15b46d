"""Files that another Python runs, that of the environment ``compress``; they import nothing of Undercroft."""
