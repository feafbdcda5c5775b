"""Embeddings: neighbors and maps."""
