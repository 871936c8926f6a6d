"""Inference engines, each written for one scene."""
