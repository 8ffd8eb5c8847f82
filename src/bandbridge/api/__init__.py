"""What ``import bandbridge`` offers: models, studies, distances and fine-tuning, as few words as they can be said in.

The command line calls the same functions, so both give the same results. Nothing here prints unless asked to.
"""

from pathlib import Path

#: The ImageNet model that compares domains, and the side of the images given to it, pixels.
DEFAULT_ARCHITECTURE, DEFAULT_SIZE = "ConvNeXt-Tiny", 224
#: Where trainings and embeddings are kept.
DEFAULT_RUNS = Path("runs")
