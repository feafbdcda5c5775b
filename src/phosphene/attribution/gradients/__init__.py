"""Methods from gradients at the pixels."""
