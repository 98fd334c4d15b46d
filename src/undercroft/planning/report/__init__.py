"""Plans as pages and pictures that stand alone: one HTML or SVG file, no script, nothing fetched."""

from undercroft.planning.report.pages import html_of_plan, html_of_ranking, svg_of_plan

__all__ = ["html_of_plan", "html_of_ranking", "svg_of_plan"]
