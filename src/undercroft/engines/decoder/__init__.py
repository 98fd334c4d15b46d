"""The program of a replica that generates with onnxruntime-genai: one process answers, another computes."""
