"""Coming back: backups that were tried, and restores that compare every digest."""
