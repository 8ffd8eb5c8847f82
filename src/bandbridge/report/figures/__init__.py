"""The figures of a report; some come with the table of the same numbers."""
