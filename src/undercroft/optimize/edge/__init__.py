"""Models for devices: programs of ExecuTorch and LiteRT, made of published models, compared with them, and timed."""
