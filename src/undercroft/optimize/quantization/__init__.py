"""Quantizes GGUF models as llama.cpp's own tool does, tensor by tensor the same types and bytes, without a compiler."""
