"""Generative models: the protocol that a model file follows, and how a model file is found and loaded."""
