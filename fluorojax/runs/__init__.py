"""Runs over many scenes: batches, files, scenarios, and the progress that a user sees."""
