"""Files that another Python runs, that of the environment ``convert``; they import nothing of Undercroft."""
