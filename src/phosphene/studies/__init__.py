"""Studies: questions put together. One file is one study."""
