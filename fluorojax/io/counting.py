"""Stored values of a detector as counts of quanta: gain and offset, given or estimated from the run itself."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from jaxtyping import Num

from fluorojax.io.errors import InputError

if TYPE_CHECKING:
    from fluorojax.calibration.photon_transfer import PhotonTransfer

Intensity = Literal["lin", "log"]
ESTIMATE = "estimate"
"""In place of a gain: estimate it from the run."""
_NOTICED = 1e-3  # share of pixels from which on clipping is worth a remark
_ROUNDS = 6  # each at least halves the error of the gain that electronic noise makes where the offset is given


@dataclass(frozen=True)
class Counting:
    """How stored values become counts, ``(value − offset) / gain``, and what is believed of a file of stored values.

    Raises ``ValueError`` naming the option for a value that cannot be used.
    """

    gain: float | str | None = None
    """Stored values per detected quantum; ``"estimate"`` fits gain and offset to the variance of still pixels
    (:mod:`fluorojax.calibration.photon_transfer`); None where the file holds counts."""
    offset: float | None = None
    """Stored value at no quanta; None is zero, or is estimated with the gain."""
    intensity: Intensity | None = None
    """Relation of stored values to the X-ray intensity, where a DICOM file does not tell it."""
    log_scale: float | None = None
    """Stored values per unit of the natural logarithm of the intensity, where a DICOM file has no lookup table."""
    allow_lossy: bool = False
    """Take images that were compressed with loss, whose noise is no longer that of quanta."""

    def __post_init__(self) -> None:
        if isinstance(self.gain, str):
            if self.gain != ESTIMATE:
                raise ValueError(f"--gain is {self.gain!r}; expected a positive number, or the word {ESTIMATE}")
        elif self.gain is not None and not 0 < self.gain < float("inf"):
            raise ValueError(f"--gain is {self.gain:g}; expected a positive number, or the word {ESTIMATE}")
        if self.offset is not None and not np.isfinite(self.offset):
            raise ValueError(f"--offset is {self.offset:g}; expected a finite number")
        if self.intensity is not None and self.intensity not in get_args(Intensity):
            raise ValueError(f"--intensity is {self.intensity!r}; expected one of {', '.join(get_args(Intensity))}")
        if self.log_scale is not None and not 0 < self.log_scale < float("inf"):
            raise ValueError(f"--log-scale is {self.log_scale:g}; expected a positive number")

    def as_settings(self) -> dict[str, Any]:
        """What differs from the default, as JSON values."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Counting":
        """Inverse of :meth:`as_settings`; raises ``ValueError`` or ``TypeError`` for other values."""
        known = {f.name for f in fields(cls)}
        return cls(**{name: value for name, value in settings.items() if name in known})


AS_THEY_ARE = Counting()
"""Values that are counts already."""


def to_counts(
    values: Num[np.ndarray, "*shape"],
    counting: Counting,
    where: tuple[str, str],
    *,
    saturation: float | None = None,
    electronic_noise: float = 0.0,
) -> tuple[Num[np.ndarray, "*shape"], dict[str, Any]]:
    """Counts from stored values of shape (T, H, W) or (H, W), and facts for the metadata of the scene.

    Without gain and offset the values are counts already. With ``electronic_noise`` (its standard deviation, quanta)
    values below the offset become negative counts; without it they become zero counts, which is told. Raises
    :class:`InputError` where an estimate is asked for and the run does not allow one.
    """
    gain, offset = counting.gain, counting.offset
    if gain is None and offset is None:
        return values, {}
    if not np.isfinite(values).all():  # told in detail by the checks of counts
        return values, {}
    remarks: list[str] = []
    facts: dict[str, Any] = {}
    if isinstance(gain, str):
        try:
            found = _estimate(values, offset, saturation, electronic_noise)
        except ValueError as error:
            raise InputError(*where, "gain", f"{error} (--gain, --offset)") from error
        gain, offset = found.gain, found.offset
        facts |= {"gain_std": found.gain_std, "offset_std": found.offset_std}
        remarks += [f"estimated from still pixels: {line}" for line in found.sentences()]
    gain, offset = 1.0 if gain is None else float(gain), 0.0 if offset is None else offset
    counts = ((values.astype(np.float64) - offset) / gain).astype(np.float32)
    below = float((counts < 0).mean()) if electronic_noise == 0 else 0.0
    if below > _NOTICED:
        remarks.append(
            f"{100 * below:.2g} % of the values lie below the offset {offset:g} and are taken as zero counts: "
            "electronic noise does that (--detector, or --protocol electronic_noise=QUANTA, keeps and models it), or "
            "an offset that is too large"
        )
    if saturation is not None and (share := float((values >= saturation).mean())) > _NOTICED:
        remarks.append(f"{100 * share:.2g} % of the values are saturated: the true counts are higher")
    facts |= {"gain": gain, "offset": offset}
    counts = counts if electronic_noise > 0 else np.maximum(counts, 0.0)
    return counts, {"counting": facts, **({"remarks": remarks} if remarks else {})}


def _estimate(
    values: Num[np.ndarray, "*shape"], offset: float | None, saturation: float | None, electronic_noise: float
) -> "PhotonTransfer":
    """Gain and offset from the noise of the run; the electronic noise (quanta) is taken off the variance.

    The line of the variance meets zero below the offset, by gain times the variance of the noise in quanta.
    """
    from fluorojax.calibration.photon_transfer import photon_transfer

    below = electronic_noise**2
    if below == 0:
        return photon_transfer(values, offset=offset, saturation=saturation)
    # The slope of the free line is the gain whatever the noise, so that it is the start where the offset is given.
    found = photon_transfer(values, saturation=saturation)
    if offset is None:
        return replace(found, offset=found.offset + found.gain * below)
    for _ in range(_ROUNDS):
        found = photon_transfer(values, offset=offset - found.gain * below, saturation=saturation)
    return replace(found, offset=offset)
