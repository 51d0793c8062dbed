"""Strategies as folders of Python source, and the bundled ones."""
