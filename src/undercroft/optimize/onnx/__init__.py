"""Encoders for ONNX Runtime: made of published ones, made smaller, and the proof that they say the same."""
