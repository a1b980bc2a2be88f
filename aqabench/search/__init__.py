"""Search for settings: on validation alone, under an equal budget for every trial.

A trial is a set of settings; it is done as runs without a test part (:mod:`aqabench.runs`), one for
each class and seed.  What was tried is one file per trial, from which everything else is made.
"""
