"""Sequences for the player: what is written can be read back, within its bounds."""

import base64
import zlib

import numpy as np
import pytest
from report_files import random_images, smooth_images

from fluorojax.reports.movie import Layer, block_mean, encode_layer, make_movie


def decode(layer, shape):
    """What ``static/decode.js`` does."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(layer["data"])), np.uint8).astype(np.int64)
    levels = planes.reshape(layer["depth"], -1).T @ 256 ** np.arange(layer["depth"])
    levels = levels.reshape(shape)
    if layer["delta"]:
        levels[0] = np.cumsum(levels[0], axis=1)
        levels = np.cumsum(levels, axis=0) % 256 ** layer["depth"]
    return np.where(levels == 0, np.nan, layer["low"] + (levels - 1) * layer["step"])


@pytest.mark.parametrize("delta", [False, True])
@pytest.mark.parametrize("step", [0.01, 1e-4])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 4), (2, 1, 7)])
def test_levels_read_back_within_half_a_step(shape, step, delta):
    values = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    values.flat[0] = np.nan
    if values.size > 1:
        values.flat[-1] = np.inf
    found = decode(encode_layer(values, step, delta), shape)
    np.testing.assert_array_equal(np.isnan(found), ~np.isfinite(values))
    np.testing.assert_allclose(found, np.where(np.isfinite(values), values, np.nan), atol=0.51 * step)


@pytest.mark.parametrize("images", [random_images, smooth_images])
@pytest.mark.parametrize("shape", [(24, 20), (6, 24, 20)])
def test_a_movie_holds_its_layers(images, shape):
    truth, x_hat, std = images(shape, np.random.default_rng(1))
    layers = {"estimate": Layer("x", x_hat), "spread": Layer("sd", std, "spread"), "truth": Layer("t", truth)}
    movie = make_movie(layers, 1e6, frame_time_ms=33.0)
    frames, height, width = movie.data["shape"]
    assert (frames, height, width) == (shape[0] if len(shape) == 3 else 1, 24, 20)
    assert sum(len(layer["data"]) for layer in movie.data["layers"].values()) <= movie.size
    for name, layer in layers.items():
        found = decode(movie.data["layers"][name], movie.data["shape"])
        # far below the error that the standard deviation states, and far below itself
        np.testing.assert_allclose(found.reshape(shape), layer.values, atol=0.03 * np.median(std))
    row, column = movie.data["start"]
    assert x_hat.reshape(frames, 24, 20).std(axis=0)[row, column] == pytest.approx(
        x_hat.reshape(frames, 24, 20).std(axis=0).max()
    )


def test_a_movie_stays_within_its_budget():
    truth, x_hat, std = random_images((40, 128, 96), np.random.default_rng(2))
    layers = {"estimate": Layer("x", x_hat), "spread": Layer("sd", std, "spread"), "truth": Layer("t", truth)}
    shapes = []
    for budget in (4e6, 1e6, 2e5, 4e4, 2e4):
        movie = make_movie(layers, budget)
        assert sum(len(layer["data"]) for layer in movie.data["layers"].values()) <= movie.size <= budget
        shapes.append(tuple(movie.data["shape"]))
    assert shapes == [(40, 128, 96), (20, 64, 48), (10, 64, 48), (10, 32, 24), (4, 32, 24)]
    assert make_movie(layers, 5000) is None


def test_large_frames_are_averaged_down():
    values = np.arange(2 * 600 * 300, dtype=np.float32).reshape(2, 600, 300)
    movie = make_movie({"estimate": Layer("x", values)}, 1e7)
    assert (movie.plan.block, movie.data["shape"]) == (3, [2, 200, 100])
    np.testing.assert_allclose(
        decode(movie.data["layers"]["estimate"], (2, 200, 100)), block_mean(values, 3), rtol=0, atol=50
    )


def test_blocks_leave_out_what_does_not_fill_one():
    assert block_mean(np.arange(12.0).reshape(3, 4), 2).tolist() == [[2.5, 4.5]]


def test_nothing_finite_can_be_held():
    movie = make_movie({"estimate": Layer("x", np.full((2, 12, 12), np.nan, np.float32))}, 1e6)
    assert np.isnan(decode(movie.data["layers"]["estimate"], (2, 12, 12))).all()
    assert movie.data["start"] == [6, 6]


@pytest.mark.filterwarnings("error")
def test_values_whose_squares_are_too_large_can_be_held():
    values = np.zeros((2, 12, 12), np.float32)
    values[1, 3, 4] = 3e38
    assert make_movie({"estimate": Layer("x", values)}, 1e6).data["start"] == [3, 4]
