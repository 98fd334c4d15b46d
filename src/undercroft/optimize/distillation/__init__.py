"""Distillation: a smaller model learns from what a larger one expects, or from what it answers."""
