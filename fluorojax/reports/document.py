"""The complete page: style, scripts and data stand in it, and its own policy forbids every access to the network."""

import base64
import hashlib
from collections.abc import Iterable
from functools import cache
from importlib import resources

from markupsafe import Markup

from fluorojax.reports.palettes import KINDS, palette_of
from fluorojax.reports.player import json_block
from fluorojax.reports.templates import render

# Together one script, in this order.
_SCRIPTS = ("decode.js", "state.js", "panels.js", "controls.js", "curve.js", "compare.js", "main.js")


def document(title: str, body: Iterable[str]) -> Markup:
    """The page with ``body``, whose parts are escaped where they are no :class:`~markupsafe.Markup`.

    The page runs its own script and no other, whatever texts the files bring along.
    """
    script = _script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    colours = {kind: base64.b64encode(palette_of(kind).tobytes()).decode() for kind in KINDS}
    return render(
        "page",
        title=title,
        policy=policy,
        style=Markup(_read("report.css")),
        body=Markup("\n").join(body),
        palettes=json_block(colours),
        script=Markup(script),
    )


@cache
def _script() -> str:
    return "\n" + "\n".join(_read(name) for name in _SCRIPTS)


@cache
def _read(name: str) -> str:
    return resources.files("fluorojax.reports").joinpath("static", name).read_text(encoding="utf-8")
