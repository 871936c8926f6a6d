"""A reconstruction as the last line of a notebook cell: a strip of frames and the parameters."""

import numpy as np
from jaxtyping import Float

from fluorojax.data.reconstruction import Reconstruction
from fluorojax.data.wording import in_words, nominal_value
from fluorojax.plot.display import Window, image_window, spread_window
from fluorojax.reports.palettes import palette_of
from fluorojax.reports.strips import plan_strips, strip_images
from fluorojax.reports.templates import render

_BYTES = 200_000
"""Most that the pictures of one result take in a notebook."""


def preview(result: Reconstruction) -> str:
    """Static HTML of a result: at most six frames of x̂ and of its standard deviation, and what is known of the spec.

    The pictures take 200 kB at most. All texts are escaped; the HTML holds no script.
    """
    rows = {"Reconstruction x̂": (result.x_hat, image_window(result.x_hat), "image")}
    if result.x_std is not None:
        rows["Posterior standard deviation of x"] = (result.x_std, spread_window(result.x_std), "spread")
    parameters = [
        in_words(
            parameter,
            float(getattr(result.spec, parameter.name)),
            float(getattr(result.spec_std, parameter.name)),
            prior=result.prior_ranges.get(parameter.name),
            nominal=nominal_value(parameter, result.nominal),
        )
        for parameter in result.parameters
    ]
    shape = " × ".join(map(str, result.x_hat.shape))
    return str(
        render(
            "preview",
            name=result.name,
            status=result.status.value,
            facts=f"{shape} (frames × rows × columns)" if result.x_hat.ndim == 3 else f"{shape} (rows × columns)",
            rows=[_row(title, *row, count=len(rows)) for title, row in rows.items()],
            parameters=parameters,
        )
    )


def _row(title: str, values: Float[np.ndarray, "*shape"], window: Window, kind: str, *, count: int) -> dict:
    found = plan_strips(values.shape, count, _BYTES)
    frames = []
    if found is not None:
        plan = found[0]
        labels = [f"frame {index}" for index in plan.frames]
        frames = list(zip(strip_images(values, plan, window, palette_of(kind)), labels, strict=True))
    return {"title": title, "frames": frames, "low": window.low, "high": window.high}
