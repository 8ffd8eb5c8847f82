"""Chromosome image classification by two-step transfer learning.

ImageNet -> an intermediate staining domain -> the target stain: does the middle step help, by how much, and why?
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("bandbridge")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0+unknown"
