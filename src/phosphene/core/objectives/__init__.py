"""Objectives: one scalar per image, read from a network."""
