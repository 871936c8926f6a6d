"""Learned posteriors: networks that are trained on simulated scenes and map counts to mean and standard deviation."""
