"""The command line ``fluorojax``."""

from fluorojax.cli.app import app, main

__all__ = ["app", "main"]
