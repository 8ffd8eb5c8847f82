"""A local page on which a person checks and corrects the karyograms of cells."""
