"""Learned posteriors: networks trained on the simulator alone, straight from the counts."""
