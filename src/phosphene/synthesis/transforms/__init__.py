"""What is done to an image before the network sees it, or after a step."""
