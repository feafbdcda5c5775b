"""From a map to a box or a cut-out."""
