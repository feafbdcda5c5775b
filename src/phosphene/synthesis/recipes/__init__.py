"""One file for each verb that makes images."""
