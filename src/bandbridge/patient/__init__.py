"""What the cells of one patient say together: counts, clones, mosaics, and the draft of a karyotype."""
