"""What ``import bandbridge`` offers: models, studies, distances and fine-tuning, as few words as they can be said in.

The command line calls the same functions, so both give the same results. Nothing here prints unless asked to.
"""
