"""The report as a whole: self-contained, well-formed, bounded, complete."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from fluorojax.acquisition import Acquisition
from fluorojax.io import InputError, Provenance, ReconstructionWriter, write_challenge
from fluorojax.reconstruction import Reconstruction, ReconstructOptions, Status
from fluorojax.report import write_report
from fluorojax.scene import Scene
from fluorojax.spec import Spec, SpecRanges

VOID = {"meta", "img", "line", "circle", "br"}


class Checker(HTMLParser):
    """Demands that tags nest, and collects what the page refers to."""

    def __init__(self):
        super().__init__()
        self.open, self.references, self.images, self.alt = [], [], 0, []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.references += [values[name] for name in ("src", "href") if name in values]
        if tag == "img":
            self.images += 1
            self.alt.append(values["alt"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def make_files(directory, shape=(4, 32, 32), count=2, **changes):
    truth, out = directory / "in.h5", directory / "out.h5"
    rng = np.random.default_rng(0)
    scenes, results = [], []
    for index in range(count):
        x = rng.uniform(size=shape).astype(np.float32)
        acquisition = Acquisition(photons_per_pixel=200.0, attenuation_scale=2.0)
        name = f"sample_{index:02d}"
        scenes.append(
            Scene(
                name,
                rng.poisson(200 * np.exp(-2 * x)).astype(np.float32),
                acquisition,
                SpecRanges.for_tier("public"),
                x_true=x,
                true_spec=Spec(1.0, -2.0, 0.25),
            )
        )
        fields = {
            "x_hat": x + rng.normal(0, 0.05, shape).astype(np.float32),
            "x_std": rng.uniform(0.03, 0.07, shape).astype(np.float32),
            "spec": Spec(2.345, 0.0, 0.2),
            "spec_std": Spec(0.5, 0.4, 0.1),
            "spec_interval": {"motion_blur": (1.5, 3.2), "lag": (-0.5, 0.5), "gain_drift": (0.1, 0.3)},
            "status": Status.CONVERGED,
            "seconds": 1.0,
            "diagnostics": {"lag": "lag is <b>not</b> identifiable here & now"},
        }
        results.append(Reconstruction(name=name, **{**fields, **changes}))
    write_challenge(truth, scenes)
    with ReconstructionWriter(out, Provenance.of_run(truth, ReconstructOptions(seed=11)), source=truth) as writer:
        for result in results:
            writer.write(result)
    return out, truth


def read_page(path):
    text = path.read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    return text, checker


@pytest.mark.parametrize(
    ("given", "strips"), [((), 2), (("source",), 3), (("truth",), 4), (("source", "truth"), 4)], ids=str
)
def test_the_page_stands_alone(tmp_path, given, strips):
    out, truth = make_files(tmp_path)
    write_report(tmp_path / "page.html", out, **dict.fromkeys(given, truth))
    text, checker = read_page(tmp_path / "page.html")
    assert checker.images == 2 * strips * 4
    assert all(checker.alt)
    assert all(ref.startswith(("data:image/png;base64,", "#")) for ref in checker.references)
    assert not re.search(r"//|@import|<script|url\(", re.sub(r"base64,[^\"]*", "", text))
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_the_page_says_everything(tmp_path):
    out, truth = make_files(tmp_path)
    write_report(tmp_path / "page.html", out, truth=truth)
    text, _ = read_page(tmp_path / "page.html")
    for part in (
        "lag is &lt;b&gt;not&lt;/b&gt; identifiable here &amp; now",
        "+2.345",
        "+1.500 … +3.200",
        "-5.00 … +10.00",
        "PSNR (dB)",
        "All scenes",
        "converged",
        "input SHA-256",
        "<dd>11</dd>",
    ):
        assert part in text


def test_the_size_is_bounded(tmp_path):
    out, truth = make_files(tmp_path, shape=(16, 128, 128), count=1)
    write_report(tmp_path / "page.html", out, truth=truth)
    assert (tmp_path / "page.html").stat().st_size < 1_000_000


def test_the_images_of_many_scenes_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("fluorojax.report.page.PAGE_BYTES", 100_000)
    out, truth = make_files(tmp_path, shape=(4, 64, 64), count=8)
    write_report(tmp_path / "page.html", out, truth=truth)
    text, checker = read_page(tmp_path / "page.html")
    images = sum(len(ref) for ref in checker.references if ref.startswith("data:"))
    assert 60_000 < images <= 100_000
    assert "Images are shown of the first 4 of 8 scenes, to keep the page small." in text
    assert ["<figure" in section for section in text.split("<section")[1:]] == 4 * [True] + 4 * [False]
    assert text.count("Corrected specification") == 8


def test_single_frames(tmp_path):
    out, truth = make_files(tmp_path, shape=(24, 20), count=1)
    write_report(tmp_path / "page.html", out, truth=truth)
    assert read_page(tmp_path / "page.html")[1].images == 4


def test_a_diverged_scene_is_shown_and_told(tmp_path):
    x_hat = np.full((4, 32, 32), np.nan, np.float32)
    nan = float("nan")
    out, truth = make_files(tmp_path, x_hat=x_hat, x_std=None, status=Status.DIVERGED, spec=Spec(nan, nan, nan))
    write_report(tmp_path / "page.html", out, truth=truth)
    text, _ = read_page(tmp_path / "page.html")
    assert "sample_01 diverged: its result must not be used and enters no mean" in text
    assert "mean of 0" in text


def test_values_that_are_not_finite_are_told(tmp_path):
    out, truth = make_files(tmp_path, x_hat=np.full((4, 32, 32), np.nan, np.float32), x_std=None)
    write_report(tmp_path / "page.html", out, truth=truth)
    assert "sample_01 holds values that are not finite and must not be used" in read_page(tmp_path / "page.html")[0]


@pytest.mark.parametrize("given", ["source", "truth"])
@pytest.mark.parametrize("status", [Status.CONVERGED, Status.DIVERGED])
def test_a_measurement_of_another_shape_is_named(tmp_path, given, status):
    out, _ = make_files(tmp_path, count=1, status=status)
    (tmp_path / "other").mkdir()
    _, other = make_files(tmp_path / "other", shape=(3, 32, 32), count=1)
    problem = r"in\.h5: sample_00: y: has shape \(3, 32, 32\); expected \(4, 32, 32\), like x_hat"
    with pytest.raises(InputError, match=problem):
        write_report(tmp_path / "page.html", out, **{given: other})


def test_another_measurement_is_remarked(tmp_path):
    out, truth = make_files(tmp_path)
    with truth.open("ab") as handle:
        handle.write(b"trailing")
    write_report(tmp_path / "page.html", out, source=truth)
    assert "in.h5 is not the file that was reconstructed" in read_page(tmp_path / "page.html")[0]


@pytest.mark.parametrize("name", ["out.h5", "in.h5"])
def test_the_page_never_replaces_its_inputs(tmp_path, name):
    out, truth = make_files(tmp_path)
    with pytest.raises(InputError, match="is the input file"):
        write_report(tmp_path / name, out, truth=truth, overwrite=True)


def test_a_failing_report_leaves_nothing(tmp_path):
    out, _ = make_files(tmp_path)
    (tmp_path / "other").mkdir()
    _, other = make_files(tmp_path / "other", count=1)
    with pytest.raises(InputError, match="sample_01: no such scene"):
        write_report(tmp_path / "page.html", out, truth=other)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5", "other", "out.h5"]
