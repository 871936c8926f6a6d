"""DICOM runs as a screen shows them: stored values after Rescale, with the windows that the file proposes.

Nothing is needed that counts need: processed, derived and lossy images are pictures as well. A lookup table to linear
intensities (Modality LUT of logarithmic runs) is not applied: it is there for computation.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from fluorojax.io.dicom.checks import check_compression, check_shown, frame_groups
from fluorojax.io.dicom.files import damage, read_pixels, real, reals, texts
from fluorojax.io.dicom.reader import DicomReader, source_instances
from fluorojax.io.dicom.timing import frame_time_ms
from fluorojax.io.errors import InputError


@dataclass(frozen=True)
class StoredRun:
    """The frames of a run and how the file says to show them."""

    values: Float[np.ndarray, "T H W"]
    """``RescaleSlope · stored + RescaleIntercept``, float32."""
    windows: tuple[tuple[float, float, str], ...]
    """WindowCenter, WindowWidth and VOILUTFunction of every window of the file."""
    inverted: bool
    """Whether high values are dark (MONOCHROME1, or the presentation shape INVERSE)."""
    frame_time_ms: float | None
    pixel_mm: float | None


def is_dicom(path: Path) -> bool:
    """Whether a path is a DICOM file, or a folder with one in it."""
    return path.exists() and DicomReader.recognises(path)


def stored_scenes(path: Path) -> list[str]:
    """Names of the runs of a DICOM file or folder."""
    return DicomReader(path).names()


def read_stored(path: Path, name: str) -> StoredRun:
    """One run of a DICOM file or folder; raises :class:`InputError` for what is no grey X-ray image, or damaged."""
    with damage(path):
        runs = source_instances(path)
        if name not in runs:
            raise InputError(path, name, None, f"no such run in it; expected one of {', '.join(list(runs)[:8])}")
        run = runs[name]
        parts = []
        for instance in run:
            check_shown(instance)
            check_compression(instance)
            slope = real(instance.header, "RescaleSlope", instance.path)
            start = real(instance.header, "RescaleIntercept", instance.path)
            stored = read_pixels(instance).astype(np.float64)
            values = (1.0 if slope is None else slope) * stored + (start or 0.0)
            parts.append(values.astype(np.float32))
        if len({part.shape[1:] for part in parts}) > 1:
            raise InputError(path, name, "Rows", "and columns change within the series; expected one size")
        values = np.concatenate(parts)
        header = run[0].header
        holders = [header, *frame_groups(header, "FrameVOILUTSequence")[:1]]
        windows: list[tuple[float, float, str]] = []
        for holder in holders:
            ends = (reals(holder, field, run[0].path) for field in ("WindowCenter", "WindowWidth"))
            function = (texts(holder, "VOILUTFunction") or ["LINEAR"])[0]
            windows += [(centre, width, function) for centre, width in zip(*ends, strict=False)]
        photometric = (texts(header, "PhotometricInterpretation") or ["MONOCHROME2"])[0]
        spacing = reals(header, "ImagerPixelSpacing", run[0].path)
        period = frame_time_ms(run, len(values), told=True)[0] if len(values) > 1 else None
        return StoredRun(
            values,
            tuple(windows),
            (photometric == "MONOCHROME1") or texts(header, "PresentationLUTShape") == ["INVERSE"],
            period,
            float(np.mean(spacing)) if len(spacing) == 2 and min(spacing) > 0 else None,
        )
