"""Networks: layers, recorded passes, receptive fields, backward rules."""
