"""A detector is measured from flat, dark, edge and step runs."""

import numpy as np
import pytest
from dicom_files import write
from scipy.ndimage import gaussian_filter

from fluorojax.cli import main
from fluorojax.detectors.detector import load_detector
from fluorojax.detectors.fitting import fit_edge, fit_flat, fit_lag
from fluorojax.metrics.resolution import slanted_edge

GAIN, OFFSET, NOISE, SIDE = 4.0, 100.0, 1.5, 96


def stored(rate, frames=12, blur=0.0, seed=0):
    """Stored values of a detector with quanta, blur and electronic noise, for a rate that broadcasts to (T, H, W)."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(np.broadcast_to(rate, (frames, SIDE, SIDE))).astype(float)
    if blur:
        counts = gaussian_filter(counts, (0, blur, blur), mode="reflect")
    values = GAIN * counts + OFFSET + GAIN * NOISE * rng.normal(size=counts.shape)
    return np.clip(np.rint(values), 0, 65535).astype(np.uint16)


DARK = stored(0.0, seed=1)
FLAT = stored(60.0, seed=2)


@pytest.mark.parametrize("mean", [3.0, 30.0, 300.0])
def test_offset_gain_and_noise_are_found(mean):
    found = fit_flat(stored(mean * np.linspace(0.8, 1.2, SIDE)), DARK)
    value = {name: figure.value for name, figure in found.figures.items()}
    assert value["gain"] == pytest.approx(GAIN, rel=0.02)
    assert abs(value["gain"] - GAIN) < 4 * found.figures["gain"].std
    assert value["offset"] == pytest.approx(OFFSET, abs=0.5)
    assert value["electronic_noise"] == pytest.approx(NOISE, rel=0.04)
    assert value["defects"] == 0
    assert found.remarks == []


def test_dose_that_wavers_from_frame_to_frame_is_no_noise():
    wavering = 100.0 * np.random.default_rng(3).uniform(0.9, 1.1, (12, 1, 1))
    assert fit_flat(stored(wavering), DARK).figures["gain"].value == pytest.approx(GAIN, rel=0.02)


def test_light_that_spreads_does_not_make_the_gain_too_low():
    found = fit_flat(stored(60.0, frames=30, blur=0.6), DARK)
    gain = found.figures["gain"]
    assert abs(gain.value - GAIN) < 3 * gain.std
    assert 0.01 * GAIN < gain.std < 0.25 * GAIN
    assert found.figures["noise_correlation"].value > 0.3
    assert "single pixels alone would give" in found.remarks[0]


def test_defects_are_counted_and_left_out():
    flat, dark = FLAT.copy(), DARK.copy()
    flat[:, 10, 10] = flat[:, 40, 7] = 110  # dead
    dark[:, 50, 50] += 400  # hot
    flat[:, 50, 50] += 400
    found = fit_flat(flat, dark)
    assert found.figures["defects"].value == 3
    assert found.figures["gain"].value == pytest.approx(GAIN, rel=0.02)


def test_the_edge_gives_the_sharpness():
    edge = stored(600.0 * (0.1 + 0.9 * slanted_edge((SIDE, SIDE), 5.0, 0.8)), frames=8)
    found = fit_edge(edge, stored(600.0), DARK, 0.2).figures["mtf_half_per_mm"]
    half = np.sqrt(np.log(2.0) / 2.0) / (np.pi * 0.8)  # of exp(−2 π² σ² f²), cycles per pixel
    assert found.value == pytest.approx(half / 0.2, rel=0.06)
    assert "5." in found.source or "4.9" in found.source


def lagging(tau, tail=0.0, on=5, off=6, delay=1000.0 / 30.0, period=1000.0 / 15.0):
    share, kept = np.exp(-delay / tau), np.exp(-period / tau)
    after = share * kept ** np.arange(off) + tail * np.exp(-np.arange(off) / 9.0)
    return stored(500.0 * np.concatenate([np.ones(on), after])[:, None, None], frames=on + off)


@pytest.mark.parametrize("tau", [8.0, 10.0, 20.0])
def test_the_end_of_the_beam_gives_the_lag(tau):
    found = fit_lag(lagging(tau), DARK, frame_time_ms=1000.0 / 15.0, readout_delay_ms=1000.0 / 30.0)
    lag = found.figures["lag_ms"]
    assert abs(lag.value - tau) < 4 * lag.std + 0.01 * tau
    assert lag.std < 0.2 * tau
    assert found.remarks == []


def test_slow_lag_is_told():
    found = fit_lag(lagging(10.0, tail=0.01), DARK, frame_time_ms=1000.0 / 15.0, readout_delay_ms=1000.0 / 30.0)
    assert "slow lag" in found.remarks[0]
    share, lag = found.figures["slow_lag_share"], found.figures["lag_ms"]
    assert abs(share.value - 0.01) < 4 * share.std + 0.001
    assert abs(lag.value - 10.0) < 4 * lag.std + 0.3


BAD = {
    "short": (lambda: fit_flat(FLAT[:2], DARK), "at least 3 frames"),
    "sizes": (lambda: fit_flat(FLAT[:, :40], DARK), "expected the same"),
    "dark": (lambda: fit_flat(DARK - 50, DARK), "not brighter"),
    "no noise": (lambda: fit_flat(np.full((4, 16, 16), 500.0), DARK[:, :16, :16]), "photon noise"),
    "no edge": (lambda: fit_edge(np.full((SIDE, SIDE), 300.0), np.full(FLAT.shape, 300.0), 0.0 * DARK, 0.2), "no edge"),
    "no step": (lambda: fit_lag(FLAT, DARK, frame_time_ms=33.0, readout_delay_ms=33.0), "no single end of the beam"),
    "no lag": (
        lambda: fit_lag(np.concatenate([FLAT, DARK]), DARK, frame_time_ms=33.0, readout_delay_ms=33.0),
        "expected a lag",
    ),
}


@pytest.mark.parametrize(("call", "words"), BAD.values(), ids=BAD)
def test_runs_that_do_not_serve_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_the_command_writes_a_detector_from_files_of_several_formats(tmp_path, capsys):
    write(tmp_path / "flat.dcm", FLAT)
    np.save(tmp_path / "dark.npy", DARK)
    np.save(tmp_path / "edge.npy", stored(200.0 * (0.1 + 0.9 * slanted_edge((SIDE, SIDE), 5.0, 0.8))))
    np.save(tmp_path / "step.npy", lagging(10.0))
    out = tmp_path / "mine.toml"
    command = ["detectors", "fit", *(str(tmp_path / name) for name in ("flat.dcm", "dark.npy", "edge.npy"))]
    command += ["-o", str(out), "--step", str(tmp_path / "step.npy")]
    assert main(command) == 2
    assert "expected --fps" in capsys.readouterr().err
    assert not out.exists()
    assert main([*command, "--fps", "15", "--title", "Room 3"]) == 0
    detector = load_detector(out)
    assert detector.title == "Room 3"
    assert detector.value("gain") == pytest.approx(GAIN, rel=0.02)
    assert detector.value("lag_ms") == pytest.approx(10.0, rel=0.1)
    assert detector.value("pixel_mm") == 0.2
    assert 1.0 < (detector.value("mtf_half_per_mm") or 0.0) < 1.5
    assert main(command) == 2
    assert "exists" in capsys.readouterr().err


def test_the_command_asks_for_the_pixel_size(tmp_path, capsys):
    for name, values in (("flat", FLAT), ("dark", DARK)):
        np.save(tmp_path / f"{name}.npy", values)
    files = [str(tmp_path / f"{name}.npy") for name in ("flat", "dark", "flat")]
    assert main(["detectors", "fit", *files, "-o", str(tmp_path / "a.toml")]) == 2
    assert "--pixel-mm" in capsys.readouterr().err
    assert main(["detectors", "fit", files[0], str(tmp_path / "none.npy"), "-o", str(tmp_path / "a.toml")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_dark_values_that_are_cut_off_are_told():
    dark = np.maximum(DARK.astype(float) - OFFSET, 0.0)
    assert any("are zero or less" in remark for remark in fit_flat(FLAT - OFFSET, dark).remarks)
