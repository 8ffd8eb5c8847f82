"""What a classifier sees: Grad-CAM, how its attention lies on the chromosome, and the cases worth looking at."""
