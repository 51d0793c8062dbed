"""Jesse on this machine: its own Python environment and a pool of worker processes."""
