"""Which images? One pass over a folder, and what every unit looks for."""
