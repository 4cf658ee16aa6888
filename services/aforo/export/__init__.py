"""Export: the predictor as one ONNX graph, and the half of it that a server needs to run one.

``inference`` imports numpy and onnxruntime only; everything else here is for training.
"""
