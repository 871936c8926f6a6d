"""Settings of a NUTS run."""

from dataclasses import dataclass

from fluorojax.engines.online_statistics import MAX_IMAGES

LAYOUTS = ("auto", "vectorised", "sequential")
"""How the Markov chains of one device may run."""


@dataclass(frozen=True)
class NutsOptions:
    """Settings of a NUTS run; a bad one raises ``ValueError``."""

    settle: int = 100
    """Iterations before the warm-up, at most as many; 0 for none. The coordinates are then laid out anew around the
    mean of the later half, because a MAP solve holds hyperparameters at their prior median, perhaps far from here."""
    warmup: int = 300
    """Iterations that adapt step size and mass matrix, and whose later half lays out the histograms."""
    draws: int = 300
    """Draws kept from each Markov chain."""
    chains: int = 4
    """Markov chains."""
    max_tree_depth: int = 8
    """At most ``2^depth − 1`` gradients per iteration."""
    target_accept: float = 0.8
    thin: int = 1
    """Iterations per draw."""
    block: int = 25
    """Draws between two states on disk and two reports of progress; changes no result."""
    layout: str = "auto"
    """How the Markov chains of one device run: ``vectorised``, or ``sequential``, where none waits for the longest
    trajectory. ``auto`` is sequential on a CPU. Several devices share the Markov chains where each gets
    as many."""
    max_rhat: float = 1.02
    """Largest R-hat of a spec parameter in a converged run; hyperparameters above it are reported."""
    max_rhat_places: float = 1.05
    """Largest R-hat of a watched value: the worst of many is above that of one even where all have mixed."""
    min_ess: float = 100.0
    """Smallest bulk or tail effective sample size of a spec parameter or watched value in a converged run."""

    def __post_init__(self) -> None:
        lowest = {"settle": 0, "warmup": 20, "draws": 4, "chains": 1, "max_tree_depth": 1, "thin": 1, "block": 1}
        for name, least in lowest.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} is {value!r}; expected an integer of at least {least}")
        for name, most in {"settle": self.warmup, "draws": MAX_IMAGES, "max_tree_depth": 15}.items():
            if getattr(self, name) > most:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at most {most}")
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout is {self.layout!r}; expected one of {', '.join(LAYOUTS)}")
        if not 0 < self.target_accept < 1:
            raise ValueError(f"target_accept is {self.target_accept}; expected a probability between 0 and 1")
        for name, least in {"max_rhat": 1, "max_rhat_places": 1, "min_ess": 0}.items():
            if not getattr(self, name) > least:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a number above {least}")
