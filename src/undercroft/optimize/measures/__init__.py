"""What a model's numbers say about it: perplexity, divergence from its parent, continuations, importance of inputs."""
