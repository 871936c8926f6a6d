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

# Control characters, and marks that turn the direction of writing: texts from files may hold them, a page must not.
_UNSEEN = dict.fromkeys(
    {*range(32), *range(127, 160), 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)} - {9, 10, 13},
    "\ufffd",
)
# Together one script, in this order.
_SCRIPTS = tuple(f"{name}.js" for name in "decode state panels controls curve compare region save main".split())


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
    page = render(
        "page",
        title=title,
        policy=policy,
        style=Markup(_read("report.css")),
        body=Markup("\n").join(body),
        palettes=json_block(colours),
        script=Markup(script),
    )
    return Markup(str(page).translate(_UNSEEN))


@cache
def _script() -> str:
    return "\n" + "\n".join(_read(name) for name in _SCRIPTS)


@cache
def _read(name: str) -> str:
    return resources.files("fluorojax.reports").joinpath("static", name).read_text(encoding="utf-8")
