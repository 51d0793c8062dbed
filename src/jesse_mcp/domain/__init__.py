"""The vocabulary of the product: plain values and errors, free of any I/O."""
