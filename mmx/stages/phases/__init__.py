"""What a stage does beside its training loop, one phase a file."""
