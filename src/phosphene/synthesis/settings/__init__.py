"""Settings of pictures that maximize targets: presets, and what a network and its targets need."""
