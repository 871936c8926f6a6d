"""A complete page that loads nothing: style, scripts and data stand in it, and it forbids itself the network."""

import base64
import hashlib
from collections.abc import Iterable
from functools import cache
from importlib import resources

from fluorojax.reports.fragments import escape
from fluorojax.reports.palettes import KINDS, palette_of
from fluorojax.reports.player import json_block

# Together one script, in this order.
_SCRIPTS = ("decode.js", "state.js", "panels.js", "controls.js", "curve.js", "compare.js", "main.js")


def document(title: str, body: Iterable[str]) -> str:
    """The page; ``body`` is HTML already. Only the page's own script runs, whatever texts the files bring along."""
    script = _script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    colours = {kind: base64.b64encode(palette_of(kind).tobytes()).decode() for kind in KINDS}
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{escape(title)}</title>\n<style>\n{_read('report.css')}</style>\n</head>\n<body>",
            *body,
            f'<script type="application/json" id="palettes">{json_block(colours)}</script>',
            f'<script type="module">{script}</script>\n</body>\n</html>\n',
        ]
    )


@cache
def _script() -> str:
    return "\n" + "\n".join(_read(name) for name in _SCRIPTS)


@cache
def _read(name: str) -> str:
    return resources.files("fluorojax.reports").joinpath("static", name).read_text(encoding="utf-8")
