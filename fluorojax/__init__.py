"""Probabilistic inference for X-ray fluoroscopy in JAX: clean sequences, a corrected imaging chain, and error bars.

The names below and the subpackages (``fluorojax.streaming``, ``fluorojax.display``, …) are imported when they are first
used, so that ``import fluorojax`` itself takes no time::

    import fluorojax

    scenes = fluorojax.simulate(1, frames=8, size=64)
    result = fluorojax.reconstruct(scenes[0])
    fluorojax.score(result, scenes[0]).psnr
"""

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fluorojax import between as between
    from fluorojax import calibration as calibration
    from fluorojax import classical as classical
    from fluorojax import data as data
    from fluorojax import detectors as detectors
    from fluorojax import dicom as dicom
    from fluorojax import display as display
    from fluorojax import dose as dose
    from fluorojax import engines as engines
    from fluorojax import io as io
    from fluorojax import learned as learned
    from fluorojax import methods as methods
    from fluorojax import metrics as metrics
    from fluorojax import models as models
    from fluorojax import physics as physics
    from fluorojax import plot as plot
    from fluorojax import priors as priors
    from fluorojax import reports as reports
    from fluorojax import runs as runs
    from fluorojax import simulation as simulation
    from fluorojax import streaming as streaming
    from fluorojax import subtraction as subtraction
    from fluorojax import tomography as tomography
    from fluorojax import validation as validation
    from fluorojax.api import reconstruct as reconstruct
    from fluorojax.api import report as report
    from fluorojax.api import scene_from_counts as scene_from_counts
    from fluorojax.api import score as score
    from fluorojax.api import simulate as simulate
    from fluorojax.data.acquisition import Acquisition as Acquisition
    from fluorojax.data.reconstruction import Reconstruction as Reconstruction
    from fluorojax.data.scene import Scene as Scene
    from fluorojax.data.spec import Parameter as Parameter
    from fluorojax.data.spec import Spec as Spec
    from fluorojax.data.spec import SpecRanges as SpecRanges
    from fluorojax.io.errors import InputError as InputError
    from fluorojax.io.scenes import open_scenes as open_scenes
    from fluorojax.models.loading import load_model as load_model
    from fluorojax.physics.operator import FluoroscopyOperator as FluoroscopyOperator

    __version__: str

_WHERE = {
    "Acquisition": "data.acquisition",
    "FluoroscopyOperator": "physics.operator",
    "InputError": "io.errors",
    "Parameter": "data.spec",
    "Reconstruction": "data.reconstruction",
    "Scene": "data.scene",
    "Spec": "data.spec",
    "SpecRanges": "data.spec",
    "load_model": "models.loading",
    "open_scenes": "io.scenes",
    "reconstruct": "api",
    "report": "api",
    "scene_from_counts": "api",
    "score": "api",
    "simulate": "api",
}

_PACKAGES = frozenset(
    "between calibration classical data detectors dicom display dose engines io learned methods metrics models physics "
    "plot priors reports runs simulation streaming subtraction tomography validation".split()
)

__all__ = [*_WHERE, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        try:
            value: Any = metadata.version("fluorojax")
        except metadata.PackageNotFoundError:  # run from a checkout without installation
            value = "unknown"
    elif name in _WHERE:
        value = getattr(import_module(f"fluorojax.{_WHERE[name]}"), name)
    elif name in _PACKAGES:
        value = import_module(f"fluorojax.{name}")
    else:
        raise AttributeError(f"module 'fluorojax' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PACKAGES})
