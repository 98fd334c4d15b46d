"""Encoders for NVIDIA's servers: a Triton model repository, and how a TensorRT plan is built for it."""
