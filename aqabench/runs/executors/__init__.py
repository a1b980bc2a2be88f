"""Where the runs of a plan are done: in processes of this machine, or on a cluster."""
