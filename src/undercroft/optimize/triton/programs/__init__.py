"""Programs that run inside Triton, or on the machine that TensorRT is on; copied, never imported."""
