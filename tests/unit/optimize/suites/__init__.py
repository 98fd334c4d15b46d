"""What standard suites ask, and what becomes of it."""
