"""Training: models opened in torch, taught in a program of their own, and written back in the form they came in."""
