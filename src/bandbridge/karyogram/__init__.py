"""The karyogram of a cell: which way up its chromosomes go, where they stand on the sheet, its picture and page."""
