"""What happened: plans, records, the store, and the execution of runs."""
