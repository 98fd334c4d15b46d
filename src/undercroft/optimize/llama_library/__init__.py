"""llama.cpp as a library, in a process of its own: what its server does not tell (logits, activations)."""
