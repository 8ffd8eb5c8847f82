"""One training run: recipe, augmentation, loop and checkpoints."""
