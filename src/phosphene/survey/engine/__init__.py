"""The pass over all images: batches, threads, saving, resuming."""
