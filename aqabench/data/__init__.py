"""What is given: features and scores, real or simulated, and how they become batches."""
