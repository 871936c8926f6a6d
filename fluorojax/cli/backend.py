"""What every command that computes does first."""

from collections.abc import Callable
from dataclasses import dataclass

from fluorojax.cli.options import make_notify


@dataclass
class Settings:
    """What `fluorojax --no-cache` decides, for the command that runs."""

    no_cache: bool = False


SETTINGS = Settings()
"""Set by :func:`fluorojax.cli.app.main` for each command line."""


def use_cache(quiet: bool) -> Callable[[str], None]:
    """Keep compiled programs between processes unless `--no-cache` says otherwise; returns where remarks go."""
    notify = make_notify(quiet)
    if not SETTINGS.no_cache:
        from fluorojax.runs.cache import enable_compilation_cache

        enable_compilation_cache(notify=notify)
    return notify


def tell_backend(quiet: bool) -> Callable[[str], None]:
    """Keep compiled programs (:func:`use_cache`) and print the devices in use; returns where remarks go."""
    notify = use_cache(quiet)
    if not quiet:
        from fluorojax.runs.estimate import backend_words

        notify(backend_words())
    return notify
