"""What a page says about the acquisition and the dose."""

from collections.abc import Iterable
from os import PathLike
from pathlib import Path

import numpy as np
from markupsafe import Markup

from fluorojax.data.reconstruction import Reconstruction
from fluorojax.data.scene import Scene
from fluorojax.data.wording import times_words
from fluorojax.io import InputError
from fluorojax.reports.fragments import definitions
from fluorojax.reports.numbers import number
from fluorojax.reports.templates import render


def protocol(result: Reconstruction, scene: Scene | None) -> Markup:
    """The acquisition as a list of names and values: of the scene where it is there, else as the result records it.

    Empty where neither says anything.
    """
    nominal = result.nominal if scene is None else scene.acquisition.as_dict()
    metadata = {} if scene is None else scene.metadata
    shape = " × ".join(map(str, result.x_hat.shape))
    facts = {"images": f"{shape} ({'frames × rows × columns' if result.x_hat.ndim == 3 else 'rows × columns'})"}
    if period := nominal.get("frame_time_ms"):
        facts["frame rate"] = f"{1000.0 / period:.4g} frames/s, one every {period:.4g} ms"
    if result.times_ms is not None:
        facts["times of the images"] = times_words(result.times_ms, nominal.get("frame_time_ms"))
    for name, title, unit in (
        ("pulse_width_ms", "exposure window, nominal", "ms"),
        ("lag_ms", "time constant of the detector lag, nominal", "ms"),
        ("readout_delay_ms", "time from exposure to readout", "ms"),
        ("photons_per_pixel", "dose in the open beam, I₀", "detected quanta per pixel and frame"),
        ("electronic_noise", "electronic noise", "quanta"),
        ("attenuation_scale", "optical depth at x = 1, A", ""),
        ("scatter_fraction", "scattered share of the quanta", ""),
    ):
        if name in nominal:
            facts[title] = f"{nominal[name]:.4g} {unit}".strip()
    if scene is not None:
        low, high = (float(value) for value in np.quantile(scene.y, [0.05, 0.95]))
        mean = float(scene.y.mean(dtype=np.float64))
        facts["dose behind the patient"] = (
            f"{mean:.4g} detected quanta per pixel and frame on average, {low:.4g} to {high:.4g} in nine tenths of them"
        )
        facts["imaging chain"] = ", ".join(type(stage).__name__ for stage in scene.operator.stages)
    if result.pixel_mm is not None:
        facts["pixel"] = f"{result.pixel_mm:.4g} mm"
    for name, title in (("detector", "detector"), ("scene", "scene"), ("noise_model", "noise model")):
        if isinstance(metadata.get(name), str):
            facts[title] = metadata[name]
    assumed = metadata.get("assumed")
    if isinstance(assumed, dict) and assumed:
        facts["assumed, as the file does not say it"] = ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in assumed.items()
        )
    if len(facts) == 1:
        return Markup("")
    remarks = metadata.get("remarks")
    remarks = [str(remark) for remark in remarks] if isinstance(remarks, list) else []
    chain = "" if scene is None else scene.operator.describe(scene.acquisition, scene.ranges, scene.y.shape).svg()
    return render("protocol", facts=definitions(facts), remarks=remarks, chain=Markup(chain))


def patient_dose(files: Iterable[str | PathLike[str]], source: str | PathLike[str] | None) -> Markup:
    """Air kerma, kerma-area product, fluoroscopy time, skin dose and notices; empty where nothing is known.

    **Arguments:** ``files`` are dose reports and images (:func:`fluorojax.dose.reading.read_dose`, which says what is
    raised). Without them the headers of ``source`` are read where it is a DICOM run, and what they lack is left out.
    """
    from fluorojax.dose.reading import read_dose
    from fluorojax.io.dicom.stored import is_dicom

    paths = list(files)
    if paths:
        return _dose(read_dose(paths))
    if source is None or not is_dicom(Path(source)):
        return Markup("")
    try:
        return _dose(read_dose([source]))
    except InputError:  # a run without a word on its dose is no fault of the report
        return Markup("")


def _dose(record) -> Markup:
    from fluorojax.dose.notices import SOURCE, notices
    from fluorojax.dose.skin import skin_dose

    totals, skin = record.decisive, skin_dose(record)
    facts = {
        title: f"{number(value, digits)} {unit}"
        for title, value, digits, unit in (
            ("air kerma at the reference point", totals.kerma_gy, 4, "Gy"),
            ("kerma-area product", totals.area_product_gycm2, 3, "Gy·cm²"),
            ("fluoroscopy time", totals.fluoroscopy_s, 0, "s"),
            ("acquisition time", totals.acquisition_s, 0, "s"),
        )
        if value is not None
    }
    if skin is not None:
        facts["peak skin dose, estimated"] = f"{skin.value:.3g} Gy, {skin.low:.3g} … {skin.high:.3g} Gy"
    if not facts:
        return Markup("")
    facts["irradiation events"] = str(len(record.events))
    found = [str(notice) for notice in notices(totals, skin)]
    return render("dose", facts=definitions(facts), notices=found, source=SOURCE)
