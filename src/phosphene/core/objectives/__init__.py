"""What is asked of a network: one scalar per image."""
