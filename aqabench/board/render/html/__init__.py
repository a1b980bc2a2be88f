"""A board as one page that needs nothing else: no network, no other file, a strict policy."""
