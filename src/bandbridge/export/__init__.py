"""A trained model to pass on: timm's folder with its card, a graph for ONNX Runtime or OpenVINO, 8 bits if wanted."""
