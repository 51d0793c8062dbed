"""Ways to propose hyperparameters."""
