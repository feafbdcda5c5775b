"""Measures of how far a map can be believed."""
