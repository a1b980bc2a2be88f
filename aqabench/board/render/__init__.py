"""One renderer per medium; the terminal's is the only place here that prints."""
