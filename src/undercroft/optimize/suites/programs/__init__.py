"""Files that another Python runs, that of the environment ``lm-eval``; they import nothing of Undercroft."""
