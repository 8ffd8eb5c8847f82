"""The answers of docs/results/README.md, a module for each kind of question: see answer.py beside it."""
