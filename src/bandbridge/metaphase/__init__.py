"""A field of view -> chromosomes: ground, nuclei and debris, separation, overlaps, masks."""
