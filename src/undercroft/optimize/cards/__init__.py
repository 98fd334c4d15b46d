"""Quality cards: what a model was measured to do, as JSON, Markdown and a page."""
