"""The classical methods by name."""

from dataclasses import dataclass

from fluorojax.classical.denoisers import (
    BM3D,
    BM4D,
    NonLocalMeans,
    TemporalNonLocalMeans,
    TotalVariation2D,
    TotalVariation3D,
    Wavelets,
)
from fluorojax.classical.estimate import ClassicalMethod
from fluorojax.classical.low_rank import LowRankSparse
from fluorojax.classical.motion import MotionCompensated
from fluorojax.classical.poisson_tv import PoissonTotalVariation
from fluorojax.classical.streaming import GatedRecursive, Kalman, LastImageHold, Recursive


@dataclass(frozen=True)
class Entry:
    """One method as a table names it."""

    label: str
    method: ClassicalMethod
    packages: tuple[str, ...] = ()
    """Packages that the method needs in addition to the dependencies of fluorojax."""
    note: str = ""


_NON_COMMERCIAL = "non-commercial licence"

CLASSICAL: dict[str, Entry] = {
    "raw": Entry("raw, −log(y/I₀)/A", LastImageHold(frames=1)),
    "hold": Entry("last-image hold, mean of 8", LastImageHold()),
    "recursive": Entry("recursive averaging", Recursive()),
    "gated": Entry("recursive, motion gate", GatedRecursive()),
    "kalman": Entry("Kalman per pixel, log rate", Kalman()),
    "tv2d": Entry("TV 2-D (Anscombe)", TotalVariation2D(), ("scikit-image",)),
    "tv3d": Entry("TV 3-D (Anscombe)", TotalVariation3D(), ("scikit-image",)),
    "nlm": Entry("NLM per frame (Anscombe)", NonLocalMeans(), ("scikit-image",)),
    "tnlm": Entry("NLM over frames (Anscombe)", TemporalNonLocalMeans(), ("opencv-python-headless",)),
    "wavelet": Entry("wavelets 3-D (Anscombe)", Wavelets(), ("scikit-image", "PyWavelets")),
    "bm3d": Entry("BM3D per frame (Anscombe)", BM3D(), ("bm3d",), _NON_COMMERCIAL),
    "bm4d": Entry("BM4D (Anscombe)", BM4D(), ("bm4d",), _NON_COMMERCIAL),
    "poisson-tv": Entry("Poisson-TV MAP, same operator", PoissonTotalVariation()),
    "rpca": Entry("low rank + sparse, log domain", LowRankSparse()),
    "mctf": Entry(
        "motion-compensated mean + TV (Anscombe)", MotionCompensated(), ("opencv-python-headless", "scikit-image")
    ),
}
"""Method names in the order of the tables; ``raw`` is last-image hold of a single frame."""
