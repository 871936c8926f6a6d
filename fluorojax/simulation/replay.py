"""The layers and masks of a simulated scene, rendered again from the recorded seed."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from fluorojax.data.scene import Scene
from fluorojax.simulation.options import SimulationOptions
from fluorojax.simulation.scene import device_masks, render_layers

_TOLERANCE = 1e-4  # of x; layers are rendered in float32


def scene_layers(scene: Scene, *, ct: str | Path | None = None) -> dict[str, Float[np.ndarray, "*shape"]]:
    """The noise-free layers of a simulated scene, in the unit of ``x_true``, which is their sum.

    ``vessel`` is the contribution of the contrast agent alone and ``device`` that of catheters and wires; the others
    are anatomy (:data:`fluorojax.simulation.phantom.LAYERS`). Nothing is read but the protocol and the metadata of the
    scene, so it may come from a file. With ``x_true`` at hand the layers are checked against it.

    **Arguments:** ``scene`` as :func:`fluorojax.simulation.simulate_scene` made it; ``ct`` the volume it projects,
    where it was made from one.

    **Raises** ``ValueError`` where the scene is not the simulator's, needs a volume that is not given, or is rendered
    otherwise by this version.
    """
    seed, index, options = recorded_options(scene, ct)
    scale = scene.acquisition.as_dict()["attenuation_scale"]
    layers = {name: layer / np.float32(scale) for name, layer in render_layers(seed, options, index=index).items()}
    if scene.x_true is not None:
        error = float(np.abs(np.clip(np.sum(list(layers.values()), axis=0), 0.0, None) - scene.x_true).max())
        if error > _TOLERANCE:
            raise ValueError(
                f"scene is rendered otherwise by this version (x differs by {error:.2g}); expected that of seed "
                f"{[seed, index]}"
            )
    return layers


def scene_masks(
    scene: Scene, *, threshold: float = 0.05, ct: str | Path | None = None
) -> dict[str, Bool[np.ndarray, "*shape"]]:
    """``device``, ``vessel`` and ``moving`` pixels of a simulated scene (see :func:`device_masks`).

    ``threshold`` is an optical depth. Raises ``ValueError`` where the scene is not the simulator's.
    """
    seed, index, options = recorded_options(scene, ct)
    return device_masks(seed, options, index=index, threshold=threshold)


def recorded_options(scene: Scene, ct: str | Path | None = None) -> tuple[int, int, SimulationOptions]:
    """Seed, number, and those options that fix the layers, from what the scene records; raises ``ValueError``."""
    known: dict[str, Any] = scene.metadata
    seed, description = known.get("seed"), str(known.get("scene", ""))
    if not (isinstance(seed, list) and len(seed) == 2 and "motion" in known):
        raise ValueError("metadata records no seed and motion; expected a scene of this simulator")
    if description.startswith("CT ") and ct is None:
        raise ValueError(f"scene is a projection ({description}); expected its CT volume")
    options = SimulationOptions(
        frames=1 if scene.y.ndim == 2 else len(scene.y),
        size=(scene.y.shape[-2], scene.y.shape[-1]),
        fps=1000.0 / scene.acquisition.as_dict()["frame_time_ms"],
        motion=known["motion"],
        contrast_start_ms=known.get("contrast_start_ms"),
        ct=ct,
    )
    return int(seed[0]), int(seed[1]), options
