"""Objectives that synthesis adds."""
