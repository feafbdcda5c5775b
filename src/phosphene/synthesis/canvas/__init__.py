"""How an image is parameterized."""
