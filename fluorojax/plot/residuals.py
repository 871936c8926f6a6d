"""A figure of what the counts contain and the reconstruction does not explain: maps and spectra of the residual."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from fluorojax.data.reconstruction import Reconstruction
from fluorojax.data.scene import Scene
from fluorojax.metrics import expected_counts, noise_power, standardised_residuals, whiteness
from fluorojax.physics.extensions import as_reconstructed
from fluorojax.plot.estimates import Result, estimate_of, frame_index, matching, spec_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Standard errors at which the colours of a map end.
_LIMIT = 4.0


def counts_and_rate(result: Result, scene: Scene) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
    """The measured counts, and the counts expected from x̂ under the published imaging chain at the corrected spec.

    Both have the shape of ``scene.y``.

    Raises ``ValueError`` where shapes differ or the result must not be used.
    """
    estimate = estimate_of(result)
    matching(scene.y, scene.name, "y", estimate)
    operator = as_reconstructed(scene.operator, result.diagnostics if isinstance(result, Reconstruction) else {})
    return scene.y, expected_counts(estimate.x.reshape(scene.y.shape), spec_of(result), scene.acquisition, operator)


def residual_figure(result: Result, scene: Scene, *, frame: int = 0) -> "Figure":
    """Show what the counts contain and the reconstruction does not explain: maps of the residual and its spectra.

    The maps are in units of the noise of the counts: one frame, and the mean over frames times √T. White noise has a
    spectrum of one. A rise at low frequencies means that the reconstruction missed structure; a dip means that it
    reproduces some of the noise. A single frame has one map and one spectrum. **Raises** ``ValueError`` for shapes that
    differ, a frame that does not exist, or a result that must not be used.
    """
    from fluorojax.plot._canvas import BLUE, GREY, bare, colour_bar, new_figure

    estimate = estimate_of(result)
    index = frame_index(frame, estimate)
    counts, rate = counts_and_rate(result, scene)
    noise = scene.acquisition.as_dict()["electronic_noise"]
    found = whiteness(counts, rate, electronic_noise=noise)
    residual = standardised_residuals(counts, rate, noise).reshape(estimate.x.shape)
    power = noise_power(residual, detrend="none")
    maps = {f"frame {index}": residual[index]}
    spectra = {"spatial frequency (cycles/pixel)": power.radial(max(min(residual.shape[1:]) // 4, 2))}
    if len(residual) > 1:
        maps["mean of all frames × √T"] = residual.mean(axis=0) * np.sqrt(len(residual))
        # The spectrum is even, so that one half of it suffices.
        half = np.fft.ifftshift(power.over_time())[: len(residual) // 2 + 1]
        spectra["temporal frequency (cycles/frame)"] = (np.fft.rfftfreq(len(residual)), half)

    figure = new_figure(3.4 * len(maps) + 0.8, 6.4)
    grid = figure.subplots(2, len(maps), squeeze=False)
    for axes, (title, values) in zip(grid[0], maps.items(), strict=True):
        bare(axes, title).imshow(values, "RdBu_r", vmin=-_LIMIT, vmax=_LIMIT)
    colour_bar(figure, grid[0, -1].images[0], list(grid[0]), "(y − λ)/√λ" if noise == 0 else "(y − λ)/√(λ + σ²)")
    for axes, (label, (frequency, values)) in zip(grid[1], spectra.items(), strict=True):
        axes.axhline(1.0, linestyle="--", color=GREY)
        axes.plot(frequency, values, color=BLUE, marker="o", markersize=2.5)
        axes.set(xlabel=label, ylabel="power (white noise: 1)", ylim=(0, max(1.4, 1.1 * float(np.nanmax(values)))))
    neighbours = ", ".join(f"{name} {value / found.variance:+.3f}" for name, value in found.autocorrelation.items())
    title = f"{estimate.name}: residual variance {found.variance:.2f}; neighbour correlation: {neighbours}"
    figure.suptitle(title, fontsize="small")
    return figure
