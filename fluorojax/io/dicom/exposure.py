"""Dose of each frame relative to the first, where tube voltage, current or exposure time changed in a run."""

from collections.abc import Sequence

import numpy as np
from scipy.interpolate import CubicSpline

from fluorojax.io.dicom.checks import frame_groups
from fluorojax.io.dicom.files import Instance, real
from fluorojax.io.errors import InputError

# Detected quanta per mAs in the open beam, relative to 75 kV: Kramers' spectrum behind 0.3 mm of copper and 3 mm of
# aluminium, detected in 0.6 mm of CsI (attenuation coefficients of NIST XCOM).
_KV = (40, 50, 60, 70, 80, 90, 100, 110, 120, 130)
_QUANTA = (0.02073, 0.126, 0.3694, 0.7576, 1.27, 1.881, 2.568, 3.312, 4.1, 4.909)
_LEAST_CHANGE = 1e-3


def relative_quanta(kilovolts: np.ndarray) -> np.ndarray:
    """Detected quanta per mAs in the open beam, relative to 75 kV, for tube voltages between 30 and 150 kV."""
    return np.exp(CubicSpline(np.log(_KV), np.log(_QUANTA), bc_type="natural")(np.log(kilovolts)))


def relative_dose(run: Sequence[Instance], frames: int) -> tuple[tuple[float, ...] | None, list[str]]:
    """Dose of every frame relative to the first one, None where the files tell of no change, and remarks.

    It is proportional to current times exposure time (or Exposure), and follows the voltage as in a beam behind 0.3 mm
    of copper. Raises :class:`InputError` for voltages, currents or times that are not positive.
    """
    path = run[0].path
    columns = {
        "KVP": _column(run, frames, ("KVP",)),
        "current": _column(run, frames, ("XRayTubeCurrentInmA", "XRayTubeCurrent")),
        "time": _column(
            run, frames, ("ExposureTimeInms", "ExposureTimeInuS", "ExposureTime", "FrameAcquisitionDuration")
        ),
        "exposure": _column(run, frames, ("ExposureInmAs", "ExposureInuAs", "Exposure")),
    }
    dose, changed = np.ones(frames), []
    mas = columns["exposure"]
    for name, values in columns.items():
        if values is None or np.ptp(values) <= _LEAST_CHANGE * np.abs(values).max():
            continue
        if (values <= 0).any():
            raise InputError(path, None, name, "is not positive in all frames; expected positive numbers")
        if name in ("current", "time") and mas is not None and np.ptp(mas) > 0:
            continue  # their product is told as such
        if name == "KVP":
            if not ((values >= 30) & (values <= 150)).all():
                raise InputError(path, None, name, "(0018,0060) is outside 30 … 150 kV")
            values = relative_quanta(values)
        dose, changed = dose * values / values[0], [*changed, name]
    if not changed:
        return None, []
    remark = (
        f"{', '.join(changed)} changes from frame to frame: the open beam follows, from {dose.min():.3g} to "
        f"{dose.max():.3g} of its value in the first frame"
    )
    if "KVP" in changed:
        remark += "; that tissue attenuates less at a higher voltage is not followed"
    return tuple(float(value) for value in dose), [remark]


def _column(run: Sequence[Instance], frames: int, keywords: Sequence[str]) -> np.ndarray | None:
    """One value a frame, where the files have it frame by frame."""
    for keyword in keywords:
        if len(run) > 1:
            found = [real(instance.header, keyword, instance.path) for instance in run]
        else:
            group = "FrameContentSequence" if keyword == "FrameAcquisitionDuration" else "FrameAcquisitionSequence"
            items = frame_groups(run[0].header, group)
            found = [real(item, keyword, run[0].path) for item in items]
        if len(found) == frames and all(value is not None for value in found):
            return np.array([value for value in found if value is not None])
    return None
