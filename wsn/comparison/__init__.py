"""Comparison of runs without a server: reading run folders, statistics over seeds, tables, and one HTML page."""
