"""Pictures: decoding, resizing, drawing."""
