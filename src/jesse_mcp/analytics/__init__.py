"""Pure numerical functions: arrays in, numbers out."""
