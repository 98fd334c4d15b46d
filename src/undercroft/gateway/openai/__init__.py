"""OpenAI's routes: which fields there are, what goes to an engine, and what comes back."""
