"""A finished run on the disk, and what reads it."""
