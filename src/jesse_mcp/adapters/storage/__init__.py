"""Runs and jobs in a SQL database."""
