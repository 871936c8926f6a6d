"""Runs over many scenes: batches, files, scenarios, and the display of their progress."""
