"""Architectures and the weights they start from."""
