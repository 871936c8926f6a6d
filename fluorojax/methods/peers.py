"""The learned peers of :mod:`fluorojax.learned.peers` behind the protocol of all methods, for comparison.

They are calibrated and fed as ``learned`` is, and never refuse a scene because it is unlike their training.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar

from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.learned.peers import PEERS
from fluorojax.methods.learned import LearnedMethod
from fluorojax.methods.protocol import Method


@dataclass(frozen=True)
class PeerBase(LearnedMethod):
    """A peer; :func:`peer_method` makes a class of it for every name."""

    held_out: ClassVar[float] = 0.0
    fallback: ClassVar[str | None] = None

    careful: bool = False

    @classmethod
    def from_options(cls, options: ReconstructOptions) -> "PeerBase":
        """See :meth:`fluorojax.methods.learned.LearnedMethod.from_options`."""
        method = replace(super().from_options(options), careful=False)
        assert isinstance(method, PeerBase)
        return method


@cache
def peer_method(name: str) -> type[Method] | None:
    """The class of a learned peer, or None where there is none of that name."""
    peer = PEERS.get(name)
    if peer is None:
        return None
    about = f"{peer.label} ({peer.source}), a learned peer, for comparison."
    facts = {"name": name, "default": name, "label": peer.label, "summary": about}
    return dataclass(frozen=True)(type(f"Peer_{peer.module}", (PeerBase,), facts))
