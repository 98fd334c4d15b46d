"""Files that another Python runs, that of the environment ``train``; they import nothing of Undercroft."""
