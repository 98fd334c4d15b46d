"""The program of an encoder's replica: BERT-size models in ONNX Runtime, several requests in one batch."""
