"""Classical filters and denoisers for comparison, behind one interface ``(y, acquisition) → x_hat``.

The streaming filters are written here in JAX; the others call scikit-image, OpenCV, bm3d or bm4d, none of which
fluorojax depends on (``pip install 'fluorojax[peers]'`` brings the first two). Every method takes the spec to assume
as an optional third argument: the nominal one, or the calibrated one of
:func:`fluorojax.calibration.posterior.calibrate` ("+ calibration").
"""

from fluorojax.classical.anscombe import Stabilised, anscombe, inverse_anscombe
from fluorojax.classical.catalogue import CLASSICAL, Entry
from fluorojax.classical.denoisers import (
    BM3D,
    BM4D,
    NonLocalMeans,
    TemporalNonLocalMeans,
    TotalVariation2D,
    TotalVariation3D,
    Wavelets,
)
from fluorojax.classical.electronic_noise import with_electronic_noise
from fluorojax.classical.estimate import ClassicalMethod, Estimate
from fluorojax.classical.low_rank import LowRankSparse
from fluorojax.classical.motion import MotionCompensated
from fluorojax.classical.poisson_tv import PoissonTotalVariation
from fluorojax.classical.streaming import (
    GatedRecursive,
    Kalman,
    LastImageHold,
    Recursive,
    StreamFilter,
    filter_stream,
)

__all__ = [
    "BM3D",
    "BM4D",
    "CLASSICAL",
    "ClassicalMethod",
    "Entry",
    "Estimate",
    "GatedRecursive",
    "Kalman",
    "LastImageHold",
    "LowRankSparse",
    "MotionCompensated",
    "NonLocalMeans",
    "PoissonTotalVariation",
    "Recursive",
    "Stabilised",
    "StreamFilter",
    "TemporalNonLocalMeans",
    "TotalVariation2D",
    "TotalVariation3D",
    "Wavelets",
    "anscombe",
    "filter_stream",
    "inverse_anscombe",
    "with_electronic_noise",
]
