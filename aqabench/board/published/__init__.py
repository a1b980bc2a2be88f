"""What papers report, kept as data: beside measured rows, never ranked or tested with them."""
