"""How results are shown: which records belong together, the tables, and their renderings."""
