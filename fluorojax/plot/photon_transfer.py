"""A figure of the line of variance over mean from which the gain of a detector was taken."""

from typing import TYPE_CHECKING

import numpy as np

from fluorojax.calibration.photon_transfer import PhotonTransfer

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def photon_transfer_figure(found: PhotonTransfer) -> "Figure":
    """Show the variance of every block of pixels over its mean, those that were left out, and the fitted line."""
    from fluorojax.plot._canvas import BLUE, GREY, ORANGE, new_figure

    figure = new_figure(6.0, 4.0)
    axes = figure.subplots()
    used = np.asarray(found.used, bool)
    axes.plot(found.mean[~used], found.variance[~used], ".", color=GREY, markersize=2, label="left out (motion)")
    axes.plot(found.mean[used], found.variance[used], ".", color=BLUE, markersize=2, label="still pixels")
    ends = np.array([found.offset, float(found.mean.max())])
    label = f"gain {found.gain:.4g} ± {found.gain_std:.2g}"
    axes.plot(ends, found.gain * (ends - found.offset), color=ORANGE, label=label)
    top = float(np.quantile(found.variance[used], 0.999)) if used.any() else 1.0
    axes.set(xlabel="mean stored value", ylabel="variance (squared stored values)", ylim=(0.0, 1.3 * top))
    axes.legend()
    return figure
