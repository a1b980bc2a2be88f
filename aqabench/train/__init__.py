"""How it learns: the shared training loop and the evaluation of all scenarios in one pass."""
