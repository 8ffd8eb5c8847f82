"""Drawn chromosomes: cells as the microscope shows them, drawn from the band table alone."""
