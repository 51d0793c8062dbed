"""Copies of the home folder."""
