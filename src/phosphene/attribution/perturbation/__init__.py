"""Methods that change the image and watch the target."""
