"""Detectors as data: presets, files, and what they change."""

import numpy as np
import pytest
from dicom_files import GAIN, OFFSET, quanta, stored, write

from fluorojax.cli import main
from fluorojax.detectors.detector import FIGURES, Detector, Figure, load_detector, preset_names
from fluorojax.io import InputError, Selection, open_scenes
from fluorojax.io.counting import Counting
from fluorojax.physics import PRESETS, VeilingGlare

COUNTS = quanta(6, 12, 17)


def made(**values):
    return Detector("mine", "Mine", {name: Figure(value, "measured") for name, value in values.items()})


def read(path, detector, **known):
    protocol = {"photons_per_pixel": 80.0, **known}
    return open_scenes(path, selection=Selection(protocol=protocol, detector=detector))["sample_00"]


@pytest.mark.parametrize("name", ["a-se", "cmos", "csi-asi", "image-intensifier"])
def test_presets_state_a_source_for_every_figure_and_stay_the_same_in_a_file(name, tmp_path):
    preset = load_detector(name)
    assert name in preset_names()
    assert {"pixel_mm", "electronic_noise", "lag_ms", "mtf_half_per_mm"} <= set(preset.figures) <= set(FIGURES)
    assert all(figure.low is None or figure.low <= figure.value <= figure.high for figure in preset.figures.values())
    path = tmp_path / f"{name}.toml"
    path.write_text(preset.to_toml(), "utf-8")
    assert load_detector(path) == preset
    assert Detector.from_settings(preset.as_settings()) == preset


def test_only_the_image_intensifier_has_glare():
    published, glare = PRESETS["published"], load_detector("image-intensifier")
    assert load_detector("cmos").operator(published, 0.2) is published
    stage = glare.operator(published, None).stage(VeilingGlare)
    assert (stage.share, stage.radius) == (0.079, pytest.approx(20.0))
    assert glare.operator(published, 0.6).stage(VeilingGlare).radius == pytest.approx(10.0)
    with pytest.raises(ValueError, match="pixel_mm in the detector file"):
        made(glare_share=0.1, glare_radius_mm=3.0).operator(published, None)


def test_a_dicom_run_takes_gain_offset_and_lag_from_its_detector(tmp_path):
    path = write(tmp_path / "a.dcm", stored(COUNTS))
    scene = read(path, made(gain=GAIN, offset=OFFSET, lag_ms=8.0, pixel_mm=0.5, glare_share=0.1, glare_radius_mm=2.0))
    np.testing.assert_array_equal(scene.y, COUNTS)
    assert float(scene.acquisition.lag_ms) == 8.0
    assert "lag_ms" not in scene.metadata["assumed"]
    assert scene.metadata["pixel_mm"] == 0.2  # of the file
    assert scene.operator.stage(VeilingGlare).radius == pytest.approx(10.0)


def test_options_take_the_place_of_the_detector(tmp_path):
    path = write(tmp_path / "a.dcm", stored(COUNTS))
    detector = made(gain=2 * GAIN, offset=OFFSET, lag_ms=8.0)
    selection = Selection(
        protocol={"photons_per_pixel": 80.0, "lag_ms": 9.0}, detector=detector, counting=Counting(GAIN, OFFSET)
    )
    scene = open_scenes(path, selection=selection)["sample_00"]
    np.testing.assert_array_equal(scene.y, COUNTS)
    assert float(scene.acquisition.lag_ms) == 9.0


def test_gain_and_offset_of_options_and_detector_join():
    detector = made(gain=4.0, offset=100.0)
    assert detector.counting(Counting()) == Counting(4.0, 100.0)
    assert detector.counting(Counting(offset=90.0)) == Counting(4.0, 90.0)
    assert detector.counting(Counting(gain=5.0)) == Counting(5.0, None)
    assert detector.counting(Counting(gain="estimate")) == Counting("estimate", 100.0)
    assert made(offset=100.0).counting(Counting()) == Counting()


def test_counts_of_a_challenge_file_stay_as_they_are(tmp_path):
    source = write(tmp_path / "a.dcm", stored(COUNTS))
    arguments = ["convert", str(source), str(tmp_path / "a.h5"), "--gain", "4", "--offset", "100", "--photons", "80"]
    assert main([*arguments, "--quiet"]) == 0
    scene = read(tmp_path / "a.h5", made(gain=GAIN, offset=OFFSET, lag_ms=8.0))
    np.testing.assert_array_equal(scene.y, COUNTS)
    assert float(scene.acquisition.lag_ms) == 8.0


def test_a_selection_with_a_detector_survives_its_record():
    selection = Selection(detector=load_detector("image-intensifier"), protocol={"photons_per_pixel": 5.0})
    again = Selection.from_settings(selection.as_settings())
    assert again == selection
    assert again.protocol["lag_ms"] == 12.0


def test_the_electronic_noise_of_the_detector_enters_the_protocol(tmp_path):
    np.save(tmp_path / "a.npy", COUNTS)
    noisy = read(tmp_path / "a.npy", made(electronic_noise=3.0))
    assert (noisy.acquisition.electronic_noise, noisy.metadata["noise_model"]) == (3.0, "poisson+gaussian")
    assert read(tmp_path / "a.npy", made(electronic_noise=3.0), electronic_noise=1.0).acquisition.electronic_noise == 1
    quiet = read(tmp_path / "a.npy", made(pixel_mm=0.2))
    assert (quiet.acquisition.electronic_noise, quiet.metadata["noise_model"]) == (0.0, "poisson")
    assert "electronic_noise" not in quiet.metadata["assumed"]


@pytest.mark.parametrize("write_run", [False, True], ids=["array", "DICOM"])
def test_values_below_the_offset_are_kept_where_electronic_noise_explains_them(tmp_path, write_run):
    below = COUNTS - 2.0 * (COUNTS < np.median(COUNTS))
    below[0, 0] = -1.0
    values = stored(below)
    path = tmp_path / ("a.dcm" if write_run else "a.npy")
    if write_run:
        write(path, values)
    else:
        np.save(path, values)
    scene = read(path, made(gain=GAIN, offset=OFFSET, electronic_noise=1.5))
    np.testing.assert_allclose(scene.y, below, atol=0.5 / GAIN)
    assert scene.y.min() < 0
    assert "remarks" not in scene.metadata
    clipped = read(path, made(gain=GAIN, offset=OFFSET))
    assert clipped.y.min() == 0
    assert any("--protocol electronic_noise=QUANTA" in remark for remark in clipped.metadata["remarks"])


def test_saturated_values_of_a_stack_are_told(tmp_path):
    np.save(tmp_path / "a.npy", np.minimum(stored(COUNTS), 260))
    scene = read(tmp_path / "a.npy", made(gain=GAIN, offset=OFFSET, saturation=260.0))
    assert any("saturated" in remark for remark in scene.metadata["remarks"])


BAD = {
    "no TOML": ("[gain", "is no TOML file"),
    "unknown figure": ("[gian]\nvalue = 1\nsource = 'x'", "unknown figure 'gian'"),
    "no table": ("gain = 4", "gain is no table"),
    "no source": ("[gain]\nvalue = 4", "gain has no source"),
    "no value": ("[gain]\nsource = 'x'", "gain has no value"),
    "text": ("[gain]\nvalue = '4'\nsource = 'x'", "value of gain is str"),
    "bool": ("[gain]\nvalue = true\nsource = 'x'", "value of gain is bool"),
    "negative": ("[gain]\nvalue = -4\nsource = 'x'", "value of gain is -4"),
    "not finite": ("[lag_ms]\nvalue = nan\nsource = 'x'", "value of lag_ms is nan"),
    "unknown entry": ("[gain]\nvalue = 4\nsource = 'x'\nunit = 'y'", "unknown entry 'unit'"),
    "half a glare": ("[glare_share]\nvalue = 0.1\nsource = 'x'", "only one of glare_share"),
    "title": ("title = 3", "title is no text"),
}


@pytest.mark.parametrize(("text", "words"), BAD.values(), ids=BAD)
def test_a_bad_file_gives_one_line(text, words, tmp_path, capsys):
    path = tmp_path / "bad.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=words):
        load_detector(path)
    assert main(["detectors", "show", str(path)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_the_commands_list_show_and_copy(tmp_path, capsys):
    assert main(["detectors"]) == 0
    assert "image-intensifier" in capsys.readouterr().out
    assert main(["detectors", "show", "cmos", "--json"]) == 0
    assert '"pixel_mm"' in capsys.readouterr().out
    copied = tmp_path / "mine.toml"
    assert main(["detectors", "copy", "cmos", str(copied)]) == 0
    assert load_detector(copied).figures == load_detector("cmos").figures
    assert main(["detectors", "copy", "cmos", str(copied)]) == 2
    assert main(["detectors", "show", "nope"]) == 2
    assert "expected a .toml file or one of" in capsys.readouterr().err


def test_info_shows_the_detector(tmp_path, capsys):
    path = write(tmp_path / "a.dcm", stored(COUNTS))
    known = ["--gain", "4", "--offset", "100", "--photons", "80"]
    assert main(["info", str(path), "--detector", "image-intensifier", *known]) == 0
    assert "detector lag 12 ms" in capsys.readouterr().out


def test_simulate_takes_lag_noise_and_glare(tmp_path, monkeypatch):
    import fluorojax.cli.simulate as command

    seen = []
    monkeypatch.setattr(command, "run_simulate", lambda output, options, **rest: seen.append(options))
    for more in ([], ["--detector", "image-intensifier"], ["--detector", "cmos", "--read-noise", "2"]):
        assert main(["simulate", str(tmp_path / "a.h5"), "--no-cache", "--quiet", *more]) == 0
    plain, intensifier, cmos = seen
    assert (plain.lag_ms, plain.read_noise, plain.operator) == (10.0, 0.0, PRESETS["published"])
    assert (intensifier.lag_ms, intensifier.read_noise) == (12.0, 0.5)
    assert float(intensifier.acquisition(7.0).lag_ms) == 12.0
    assert intensifier.operator.stage(VeilingGlare) is not None
    assert (cmos.lag_ms, cmos.read_noise) == (6.3, 2.0)


def test_a_lag_below_the_range_of_its_offset_is_refused():
    from fluorojax.simulation import SimulationOptions

    with pytest.raises(ValueError, match="expected more than 3 ms"):
        SimulationOptions(lag_ms=2.0)
