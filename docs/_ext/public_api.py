"""Which symbols of fluorojax are public, and the check that each of them stands in the API reference.

The rule (in words in ``reference/index.md``):

1. A module is public unless its name, or that of a package it lies in, begins with an underscore or stands in
   :data:`INTERNAL`.
2. A package whose ``__init__`` imports names to hand them on publishes these names, and nothing else: its modules are
   where they are written, not where they are imported from.
3. Any other module publishes the names in its ``__all__``, or the classes and functions defined in it without a leading
   underscore. Its constants stand in the reference where they have a docstring.
4. Of a public class, methods and properties without a leading underscore are public.
5. The package itself offers the names that people type; they are documented where they are written.
"""

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGE = "fluorojax"

INTERNAL = {
    "fluorojax.benchmark": "what the command `benchmark` is made of",
    "fluorojax.cli": "the command line, which has a page of its own",
    "fluorojax.foreign": "the child process that looks through files before they are read",
}
"""Modules and packages that are not for import, with the reason."""

_DIRECTIVE = re.compile(r"^\.\. automodule:: (\S+)$", re.MULTILINE)


def public_modules() -> list[str]:
    """Names of the modules and packages that publish something, sorted."""
    return sorted(name for name in _modules(PACKAGE) if exports(importlib.import_module(name)))


def _modules(name: str) -> Iterator[str]:
    if name in INTERNAL or any(part.startswith("_") for part in name.split(".")):
        return
    module = importlib.import_module(name)
    yield name
    if not hasattr(module, "__path__") or handed_on(module):
        return
    for found in pkgutil.iter_modules(module.__path__):
        yield from _modules(f"{name}.{found.name}")


def handed_on(module: ModuleType) -> list[str]:
    """Names that a package's ``__init__`` imports to hand them on; none for a plain module.

    They are those of its ``__all__``, or those imported as themselves (``from a import b as b``).
    """
    if not hasattr(module, "__path__") or module.__name__ == PACKAGE:
        return []
    if hasattr(module, "__all__"):
        return list(module.__all__)
    tree = ast.parse(Path(str(module.__file__)).read_text("utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return [alias.name for node in imports for alias in node.names if alias.asname == alias.name]


def exports(module: ModuleType) -> list[str]:
    """Names of the symbols a public module publishes, sorted."""
    if module.__name__ == PACKAGE:
        return []
    names = handed_on(module) or list(getattr(module, "__all__", ()))
    if not names:
        names = [name for name, value in _members(module) if getattr(value, "__module__", None) == module.__name__]
    return sorted(names)


def _members(module: ModuleType) -> Iterator[tuple[str, Any]]:
    for name, value in vars(module).items():
        if not name.startswith("_") and (inspect.isclass(value) or inspect.isroutine(value) or _compiled(value)):
            yield name, value


def _compiled(value: Any) -> bool:
    """Whether a value is a function inside ``jit`` or another wrapper."""
    return callable(value) and hasattr(value, "__wrapped__")


def symbols(name: str) -> Iterator[tuple[str, Any]]:
    """Full names and objects of everything public in a module: the module, its exports, and members of its classes."""
    module = importlib.import_module(name)
    yield name, module
    for export in exports(module):
        value = getattr(module, export)
        yield f"{name}.{export}", value
        if inspect.isclass(value):
            for member, attribute in vars(value).items():
                if not member.startswith("_") and _is_behaviour(attribute):
                    yield f"{name}.{export}.{member}", getattr(value, member)


def _is_behaviour(attribute: Any) -> bool:
    """Whether a class attribute is a method or property, not a field or an enumeration's member."""
    return isinstance(attribute, property | classmethod | staticmethod) or inspect.isroutine(attribute)


def undocumented(names: list[str]) -> list[str]:
    """Public symbols of these modules without a docstring; inherited ones count. Constants need none."""
    return [
        full
        for name in names
        for full, value in symbols(name)
        if (inspect.ismodule(value) or callable(value) or isinstance(value, property)) and not inspect.getdoc(value)
    ]


def documented_modules(reference: Path) -> list[str]:
    """Modules that the pages of a folder document, in order, repeats included."""
    return [name for page in sorted(reference.glob("*.md")) for name in _DIRECTIVE.findall(page.read_text("utf-8"))]


def _check_built(app, env) -> None:
    """Warn of every public symbol that the built reference does not hold; with ``-W`` that fails the build."""
    from sphinx.util import logging

    logger = logging.getLogger(__name__)
    held = env.get_domain("py").objects
    for name in public_modules():
        for full, _ in symbols(name):
            if full not in held:
                logger.warning("public symbol is missing in the reference: %s", full, type="public_api")
        for full in undocumented([name]):
            logger.warning("public symbol has no docstring: %s", full, type="public_api")


def setup(app):
    """Check the reference of every build."""
    app.connect("env-check-consistency", _check_built)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
