"""From the form in which a model is published to the one that an engine runs, and the proof that it is the same."""
