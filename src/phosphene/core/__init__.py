"""The core: what every question stands on. Imports torch, numpy and Pillow, and nothing above it."""
