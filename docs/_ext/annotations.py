"""Types in signatures as the source writes them: ``Float[ArrayLike, ""]``, not the union that it stands for."""

import re

from docutils import nodes
from sphinx import addnodes

_NUMBERS = r"(?: \| (?:number|bool|int|float|complex|TypedNdArray))*"
_RULES = [
    (re.compile(r"\bjaxlib\._jax\.Array\b"), "Array"),
    (re.compile(r"\b(\w+)\[Array, ('[^']*')\] \| \1\[ndarray, \2\]" + _NUMBERS), r"\1[ArrayLike, \2]"),
    (re.compile(r"\bArray \| ndarray" + _NUMBERS), "ArrayLike"),
]


def tidy(text: str) -> str:
    """A signature, or part of one, with shorter types."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def tidy_signatures(app, doctree: nodes.document) -> None:
    """Rewrite parameters, return types and types of attributes whose text gets shorter."""
    for signature in doctree.findall(addnodes.desc_signature):
        for kind in (addnodes.desc_parameter, addnodes.desc_returns, addnodes.desc_annotation):
            for node in signature.findall(kind):
                text = node.astext()
                if tidy(text) == text:
                    continue
                kept = node.children[:1] if kind is addnodes.desc_parameter else []
                rest = text[len(kept[0].astext()) :] if kept else text.removeprefix(" -> ")
                node.children = [*kept, nodes.Text(tidy(rest))]


def name_factories(app, what, name, obj, options, signature, returns):
    """Write defaults made by a function as an ellipsis: with ``<factory>`` a signature is not Python."""
    return (signature or "").replace("<factory>", "...") or signature, returns


def setup(app):
    """Act on signatures as they are made and on every page once it is read."""
    app.connect("autodoc-process-signature", name_factories)
    app.connect("doctree-read", tidy_signatures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
