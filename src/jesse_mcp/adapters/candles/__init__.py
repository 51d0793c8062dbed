"""Candles on disk and in files of other tools."""
