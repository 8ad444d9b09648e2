"""Near-duplicates: which pictures are the same, which one to keep, what to do with the rest."""
