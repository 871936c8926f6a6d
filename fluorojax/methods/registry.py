"""The reconstruction methods by name.

A new method of the package is a file and a line here. A method of another package is known to every command as an entry
point of the group ``fluorojax.methods`` (name = class), and within a process by :func:`register_method`. Nothing heavy
is imported until a method is asked for, so that the command line can list the names at once.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fluorojax.data.reconstruction import ReconstructOptions
    from fluorojax.methods.protocol import Method

_Loader = Callable[[], "type[Method]"]


def _in(module: str, name: str) -> _Loader:
    return lambda: getattr(import_module(f"fluorojax.methods.{module}"), name)


_METHODS: dict[str, _Loader] = {
    "learned": _in("learned", "LearnedMethod"),
    "map": _in("map", "MapMethod"),
    "stream": _in("stream", "StreamMethod"),
    "mgvi": _in("mgvi", "MgviMethod"),
    "nuts": _in("nuts", "NutsMethod"),
}
for _entry in entry_points(group="fluorojax.methods"):
    _METHODS.setdefault(_entry.name, _entry.load)


def method_names() -> tuple[str, ...]:
    """The methods that infer a posterior, in the order of tables and help."""
    return tuple(_METHODS)


def method_class(name: str) -> "type[Method]":
    """The class of a method: one of :func:`method_names`, a learned peer of :mod:`fluorojax.learned.peers`, or a
    classical one of :mod:`fluorojax.classical`.

    Raises ``ValueError`` where there is none of that name.
    """
    if name in _METHODS:
        return _METHODS[name]()
    from fluorojax.learned.peers import PEERS

    if name in PEERS:
        from fluorojax.methods.peers import peer_method

        kind = peer_method(name)
        assert kind is not None
        return kind
    from fluorojax.methods.classical import classical_method

    found = classical_method(name)
    if found is None:
        from fluorojax.classical import CLASSICAL

        raise ValueError(
            f"method is {name!r}; expected one of {', '.join(_METHODS)}, or a classical one: {', '.join(CLASSICAL)}, "
            f"or a learned peer: {', '.join(PEERS)}"
        )
    return found


def make_method(options: "ReconstructOptions") -> "Method":
    """The method that the options ask for, with its settings.

    Raises ``ValueError`` for an unknown name, and where the method cannot use an option.
    """
    from fluorojax.data.choices import SPEC_SOURCES

    kind = method_class(options.method)
    if options.spec not in SPEC_SOURCES:
        raise ValueError(f"spec is {options.spec!r}; expected one of {', '.join(SPEC_SOURCES)}")
    if options.spec not in kind.spec_sources:
        raise ValueError(
            f"spec is {options.spec!r} with method {options.method!r}; expected "
            f"{', '.join(kind.spec_sources[:-1])} or {kind.spec_sources[-1]}"
            + (f", because {kind.why_not_joint}" if kind.why_not_joint else "")
        )
    return kind.from_options(options)


def register_method(name: str, kind: "type[Method]") -> None:
    """Make a method of another package known by name. Raises ``ValueError`` where the name is taken."""
    if name in _METHODS:
        raise ValueError(f"method {name!r} exists already; expected another name")
    _METHODS[name] = lambda: kind
