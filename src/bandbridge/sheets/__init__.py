"""Karyogram sheets as laboratories keep them -> labelled chromosomes, and a page of what a person should check."""
