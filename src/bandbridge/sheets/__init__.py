"""Karyogram sheets as laboratories keep them -> labelled chromosomes: ink, numbers, groups, classes, crops, a page to check."""
