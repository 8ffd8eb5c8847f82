"""A trained classifier at work in a laboratory: classify, doubt, sort a cell, draw its karyogram, hand the model on."""
