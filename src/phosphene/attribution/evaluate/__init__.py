"""Measures of how reliable a map is."""
