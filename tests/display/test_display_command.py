"""``fluorojax display``: what a file holds stands in the pictures, and movies can be read again."""

import sys

import h5py
import numpy as np
import pytest
from dicom_files import dataset, quanta, save, stored
from movies import decoded_mp4
from PIL import Image, ImageSequence

from fluorojax.display import DisplayOptions, Enhancement, read_pictures, show, write_pictures
from fluorojax.io import InputError

SHAPE = (6, 24, 32)
VESSEL = (slice(None), slice(14, 17))


def picture(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def true_x():
    x = np.broadcast_to(0.3 + 0.01 * np.arange(SHAPE[2]), SHAPE).astype(np.float32).copy()
    x[3:, *VESSEL] += 0.1
    return x


def test_a_picture_holds_the_values_in_the_window(run, shown, tmp_path):
    out = tmp_path / "a.png"
    code, said, told = run(
        "display", shown / "out.h5", "--scene", "sample_01", "-o", out, "--frames", "4:5", "--level", "0.5", "--window",
        "0.4",
    )  # fmt: skip
    assert (code, said) == (0, f"wrote {out}\n")
    assert "attenuation x from 0.3 to 0.7, window 0.4, level 0.5" in told
    expected = 255 * np.clip((true_x()[4] - 0.3) / 0.4, 0, 1)
    np.testing.assert_allclose(picture(out)[..., 0], expected, atol=0.51)
    run("display", shown / "out.h5", "--scene", "sample_01", "-o", tmp_path / "b.png", "--frames", "4:5", "--level",
        "0.5", "--window", "0.4", "--invert", "--crop", "2:12,0:30", "--magnify", "2", "-q")  # fmt: skip
    found = picture(tmp_path / "b.png")
    assert found.shape == (20, 60, 3)
    np.testing.assert_array_equal(found[::2, ::2, 0], 255 - picture(out)[2:12, :30, 0])


def test_a_series_is_named_by_its_frames(run, shown, tmp_path):
    assert run("display", shown / "one.h5", "-o", tmp_path / "a.png", "--frames", "2:5")[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-0002.png", "a-0003.png", "a-0004.png"]
    code, _, told = run("display", shown / "one.h5", "-o", tmp_path / "a.png", "--frames", "4:6")
    assert (code, "a-0004.png: already exists" in told) == (2, True)
    assert len(list(tmp_path.iterdir())) == 3


def test_counts_are_shown_with_the_sd_of_their_logarithm(shown):
    found = read_pictures(shown / "one.h5")
    residual = (found.values - true_x()) / found.sd
    assert abs(residual.std() - 1) < 0.03
    assert found.frame_time_ms == 100.0


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
@pytest.mark.parametrize("size", [(24, 32), (25, 33)])
def test_movies_read_back_with_their_frames_and_size(tmp_path, suffix, size):
    height, width = size
    t, i, j = np.meshgrid(np.arange(7), np.arange(height), np.arange(width), indexing="ij")
    grey = (30 + 20 * t + 2 * i + j).astype(np.uint8)
    frames = np.repeat(grey[..., None], 3, axis=-1)
    files = write_pictures(tmp_path / f"a{suffix}", frames, rate=10.0)
    assert files == [tmp_path / f"a{suffix}"]
    if suffix == ".gif":
        with Image.open(files[0]) as movie:
            found = np.stack([np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(movie)])
            assert movie.info["duration"] == 100
        np.testing.assert_array_equal(found, grey)  # grey pictures are exact
        return
    found, rate = decoded_mp4(files[0])
    assert rate == 10.0
    assert found.shape == (7, height + height % 2, width + width % 2, 3)
    assert np.abs(found[:, :height, :width].mean(axis=-1) - grey).mean() < 4


def test_a_movie_plays_at_the_rate_of_the_run(run, shown, tmp_path):
    assert run("display", shown / "one.h5", "-o", tmp_path / "a.gif")[0] == 0
    with Image.open(tmp_path / "a.gif") as movie:
        assert (movie.n_frames, movie.info["duration"]) == (6, 100)
    assert run("display", shown / "one.h5", "-o", tmp_path / "b.gif", "--rate", "25")[0] == 0
    with Image.open(tmp_path / "b.gif") as movie:
        assert movie.info["duration"] == 40


def test_the_amplified_sd_stands_beside_the_picture(run, shown, tmp_path):
    out = tmp_path / "a.png"
    code, _, told = run("display", shown / "one.h5", "-o", out, "--frames", "4:5", "--sharpen", "5", "--show-sd")
    assert code == 0
    assert "the enhancement multiplies the standard deviation by" in told
    pictures = read_pictures(shown / "one.h5")
    found = show(pictures, DisplayOptions(enhancement=Enhancement(sharpen=5.0), show_sd=True))
    assert [pane.title for pane in found.panes] == ["attenuation x", "amplified sd"]
    edge = (4, slice(6, -6), slice(13, 18))
    assert (found.pictures.sd[edge] > 1.5 * pictures.sd[edge]).mean() > 0.5
    still = (4, slice(6, -6), slice(22, 26))
    np.testing.assert_allclose(found.pictures.sd[still], pictures.sd[still], rtol=0.2)
    shape = picture(out).shape
    assert shape[0] == SHAPE[1] + 34  # the picture with its scale below
    assert shape[1] >= 2 * SHAPE[2]


@pytest.mark.parametrize(
    "how", [("--dsa", "--mask", "0:3"), ("--road-map", "--mask", "0:3"), ("--overlay", "sub"), ("--overlay", "map")]
)
def test_contrast_agent_is_coloured_where_it_is(run, shown, tmp_path, how):
    if how[0] == "--overlay":
        how = (how[0], shown / f"{how[1]}.h5")
    assert run("display", shown / "one.h5", "-o", tmp_path / "a.png", *how, "-q")[0] == 0
    late = picture(tmp_path / "a-0005.png")
    colour = late[..., 0] - late[..., 2]
    assert (colour[VESSEL] > 60).mean() > 0.95
    colour[VESSEL] = 0
    assert (colour > 60).mean() < 0.01
    early = picture(tmp_path / "a-0001.png")
    filled = (early[..., 0] - early[..., 2])[VESSEL]
    # a road map shows its vessels over every frame, a subtraction those of the frame
    assert (filled > 60).mean() > 0.95 if how[0] == "--road-map" or "map.h5" in str(how[-1]) else filled.mean() < 5


def test_a_subtraction_is_shown_itself(shown):
    found = read_pictures(shown / "sub.h5")
    assert np.nanmean(found.values[4, *VESSEL]) == pytest.approx(0.1, abs=0.01)
    assert found.correlation == 0.0
    assert read_pictures(shown / "out.h5", "sample_00").correlation > 0
    vessels = read_pictures(shown / "map.h5", what="vessel_map")
    assert vessels.values.shape == (1, *SHAPE[1:])


def test_dicom_is_shown_as_it_says(run, tmp_path):
    values = stored(quanta(frames=3))
    levels = {"WindowCenter": [300, 200], "WindowWidth": [200, 400], "VOILUTFunction": "LINEAR_EXACT"}
    save(dataset(values, **levels), tmp_path / "a.dcm")
    assert run("display", tmp_path / "a.dcm", "-o", tmp_path / "a.png", "--frames", "1:2")[0] == 0
    expected = 255 * np.clip((values[1].astype(float) - 200) / 200, 0, 1)
    np.testing.assert_allclose(picture(tmp_path / "a.png")[..., 0], expected, atol=0.51)
    second = ("-o", tmp_path / "b.png", "--frames", "1:2", "--dicom-window", "2")
    assert run("display", tmp_path / "a.dcm", *second)[0] == 0
    np.testing.assert_allclose(picture(tmp_path / "b.png")[..., 0], 255 * (values[1] / 400.0), atol=0.51)
    save(dataset(values, PhotometricInterpretation="MONOCHROME1", RescaleSlope=2, RescaleIntercept=-10, **levels),
         tmp_path / "c.dcm")  # fmt: skip
    assert run("display", tmp_path / "c.dcm", "-o", tmp_path / "c.png", "--frames", "1:2")[0] == 0
    expected = 255 - 255 * np.clip((2.0 * values[1] - 10 - 200) / 200, 0, 1)
    np.testing.assert_allclose(picture(tmp_path / "c.png")[..., 0], expected, atol=0.51)
    code, _, told = run("display", tmp_path / "a.dcm", "-o", tmp_path / "d.png", "--sharpen", "2")
    assert (code, "enhancement needs the standard deviation" in told) == (2, True)
    counts = ("--gain", "4", "--offset", "100", "--photons", "500", "--show-sd", "--sharpen", "2", "--frames", "0:1")
    assert run("display", tmp_path / "a.dcm", "-o", tmp_path / "d.png", *counts)[0] == 0


def test_processed_dicom_is_shown_too(run, tmp_path):
    save(dataset(stored(quanta()), PixelIntensityRelationship="DISP", ImageType=["DERIVED", "PRIMARY"]),
         tmp_path / "a.dcm")  # fmt: skip
    assert run("display", tmp_path / "a.dcm", "-o", tmp_path / "a.gif")[0] == 0


BAD = [
    (("--window", "-1", "--level", "0.5"), "window is -1; expected a positive width"),
    (("--window", "1"), "one of window and level is missing"),
    (("--window", "1", "--level", "1", "--percentiles", "1:99"), "several windows are given"),
    (("--percentiles", "1-99"), "--percentiles is '1-99'; expected LOW:HIGH"),
    (("--dicom-window", "1"), "holds no window that is linear"),
    (("--frames", "4:9"), "has 6 frames; expected --frames within 0:6, not 4:9"),
    (("--crop", "0:99,0:9"), "has 24 rows; expected at least 99"),
    (("--what", "x_hat"), "holds no x_hat; expected one of counts, x_true"),
    (("--what", "y"), "--what is 'y'; expected one of x_hat, counts"),
    (("--scene", "sample_07"), "no such scene in this file; expected one of sample_00"),
    (("--dsa", "--road-map"), "several of --dsa, --road-map and --overlay are given"),
    (("--mask", "0:2"), "mask or peak frames are given"),
    (("--dsa", "--mask", "0:30"), "mask frames are [0, 1, 2"),
    (("--sharpen", "99"), "sharpen is 99; expected 0 to 20"),
    (("--rate", "0"), "rate is 0; expected 0.1 to 240"),
    (("--magnify", "0"), "magnify is 0; expected 1 to 32"),
    (("--opacity", "2", "--dsa"), "opacity is 2; expected 0 to 1"),
]


@pytest.mark.parametrize(("options", "problem"), BAD, ids=[" ".join(options) for options, _ in BAD])
def test_bad_input_is_one_line_and_leaves_nothing(run, shown, tmp_path, options, problem):
    code, said, told = run("display", shown / "one.h5", "-o", tmp_path / "a.gif", *options)
    assert (code, said) == (2, "")
    assert problem in told
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_files_that_cannot_be_shown(run, shown, tmp_path):
    empty = tmp_path / "empty.h5"
    empty.touch()
    for arguments, problem in (
        ((empty, "-o", tmp_path / "a.png"), "empty.h5: is empty; expected a reconstruction"),
        ((tmp_path / "none.h5", "-o", tmp_path / "a.png"), "none.h5: no such file"),
        ((shown / "one.h5", "-o", tmp_path / "a.avi"), "expected a file name that ends in one of .png, .gif, .mp4"),
        ((shown / "in.h5", "-o", tmp_path / "a.png"), "holds 2 scenes; expected --scene with one of sample_00"),
        ((shown / "one.h5", "-o", tmp_path / "a.png", "--overlay", shown / "in.h5"), "subtraction: missing"),
        ((shown / "out.h5", "-o", tmp_path / "a.png", "--scene", "sample_00", "--gain", "2"), "no options of protocol"),
    ):
        code, said, told = run("display", *arguments)
        assert (code, said, told.count("\n")) == (2, "", 1), told
        assert problem in told
    assert [path.name for path in tmp_path.iterdir()] == ["empty.h5"]


def test_a_movie_without_the_extra_says_what_to_install(run, shown, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    code, _, told = run("display", shown / "one.h5", "-o", tmp_path / "a.mp4")
    assert code == 2
    assert "a.mp4: needs imageio_ffmpeg, which is not installed" in told
    assert "install it with: pip install 'fluorojax[movie]'" in told
    assert run("display", shown / "one.h5", "-o", tmp_path / "a.gif")[0] == 0


def test_a_diverged_result_is_refused(shown, tmp_path):
    copy = tmp_path / "out.h5"
    copy.write_bytes((shown / "out.h5").read_bytes())
    with h5py.File(copy, "r+") as handle:
        handle["sample_00"].attrs["status"] = "DIVERGED"
    with pytest.raises(InputError, match="diverged: the energy"):
        read_pictures(copy, "sample_00")


def test_no_frames_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected frames"):
        write_pictures(tmp_path / "a.gif", np.zeros((0, 4, 4, 3), np.uint8))
