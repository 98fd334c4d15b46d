"""The health report: rows, files, summaries, pages."""
