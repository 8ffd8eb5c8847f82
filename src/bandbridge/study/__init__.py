"""A study: its file, its plan of runs, their execution and their ledger."""
