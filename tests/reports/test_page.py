"""The report as a whole: self-contained, well-formed, bounded, complete."""

import html
import re
from html.parser import HTMLParser

import h5py
import numpy as np
import pytest
from dicom_files import dataset, quanta, save
from report_files import make_files, random_images, smooth_images

from fluorojax.cli import main
from fluorojax.data.reconstruction import Status
from fluorojax.data.spec import Spec
from fluorojax.io import InputError
from fluorojax.reports import write_report

VOID = {"meta", "img", "line", "circle", "rect", "path", "br", "input"}


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
    assert not re.search(r"https?:(?!//www\.w3\.org/2000/svg)|@import|url\(|<script src", text)
    assert "default-src 'none'" in html.unescape(text)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_the_page_says_everything(tmp_path):
    out, truth = make_files(tmp_path)
    write_report(tmp_path / "page.html", out, truth=truth)
    text, _ = read_page(tmp_path / "page.html")
    for part in (
        "lag is &lt;b&gt;not&lt;/b&gt; identifiable here &amp; now",
        "10.35 ± 0.50 ms (nominal 8 ms)",
        "offset +2.35 ± 0.50 ms",
        "90 % interval +1.5 … +3.2 ms",
        "prior range −5 … +10 ms",
        "truth −2 ms, outside the 90 % interval",
        "PSNR (dB)",
        "All scenes",
        "converged",
        "input SHA-256",
        "<dd>11</dd>",
    ):
        assert part in text


@pytest.mark.parametrize("images", [random_images, smooth_images])
def test_the_size_is_bounded(tmp_path, images):
    out, truth = make_files(tmp_path, shape=(16, 128, 128), count=1, images=images)
    write_report(tmp_path / "page.html", out, truth=truth)
    text = (tmp_path / "page.html").read_text()
    assert len(text.encode()) < 3_500_000  # noise in all four sequences; see the README for what a scene takes
    assert '"shape":[16,128,128],"stride":1,"block":1' in text


def test_the_images_of_many_scenes_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("fluorojax.reports.page.PAGE_BYTES", 170_000)
    out, truth = make_files(tmp_path, shape=(4, 64, 64), count=6)
    write_report(tmp_path / "page.html", out, truth=truth)
    text, checker = read_page(tmp_path / "page.html")
    images = sum(len(ref) for ref in checker.references if ref.startswith("data:"))
    movies = sum(map(len, re.findall(r'<script type="application/json" class="movie">.*?</script>', text)))
    assert 60_000 < images + movies <= 170_000
    assert "Images are shown of the first 4 of 6 scenes, to keep the page small." in text
    assert ["<figure" in section for section in text.split("<section")[1:]] == 4 * [True] + 2 * [False]
    assert "To keep the page small, it holds means over 2×2 pixels" in text
    assert text.count("Corrected specification") == 6


def test_protocol_and_dose_stand_on_the_page(tmp_path):
    out, truth = make_files(tmp_path, count=1)
    image = dataset(quanta(), ImageAndFluoroscopyAreaDoseProduct=123.0)
    save(image, tmp_path / "run.dcm")
    write_report(tmp_path / "page.html", out, truth=truth, dose=[tmp_path / "run.dcm"])
    text, _ = read_page(tmp_path / "page.html")
    for part in (
        "<dd>30 frames/s, one every 33.33 ms</dd>",
        "<dd>200 detected quanta per pixel and frame</dd>",
        "ExposureWindow, ",
        "Dose of the patient",
        "<dt>kerma-area product</dt><dd>12.300 Gy·cm²</dd>",
    ):
        assert part in text
    write_report(tmp_path / "bare.html", out)
    assert "Dose of the patient" not in read_page(tmp_path / "bare.html")[0]
    with pytest.raises(InputError, match="is no DICOM file"):
        write_report(tmp_path / "other.html", out, dose=[truth])


def test_a_long_scene_is_thinned_out(tmp_path, monkeypatch):
    monkeypatch.setattr("fluorojax.reports.page.PAGE_BYTES", 240_000)
    out, truth = make_files(tmp_path, shape=(100, 32, 32), count=1)
    write_report(tmp_path / "page.html", out, truth=truth)
    text, _ = read_page(tmp_path / "page.html")
    assert '"shape":[20,32,32],"stride":5,"block":1' in text
    assert "it holds every 5th frame." in text


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
        write_report(tmp_path / "page.html", out, **{given: other}, allow_other=True)


def test_another_measurement_is_remarked(tmp_path):
    out, truth = make_files(tmp_path)
    with truth.open("ab") as handle:
        handle.write(b"trailing")
    with pytest.raises(InputError, match="is not the file that was reconstructed"):
        write_report(tmp_path / "page.html", out, source=truth)
    write_report(tmp_path / "page.html", out, source=truth, allow_other=True)
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
        write_report(tmp_path / "page.html", out, truth=other, allow_other=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5", "other", "out.h5"]


def test_without_the_truth_the_rest_is_shown(tmp_path, capsys):
    out, truth = make_files(tmp_path, public=False)
    problem = "in.h5: sample_01: x_true: missing; expected the truth, without which there are no scores"
    assert main(["report", str(out), "--truth", str(truth), "-o", str(tmp_path / "page.html")]) == 1
    assert f"fluorojax: {problem}\n" in capsys.readouterr().err
    text, checker = read_page(tmp_path / "page.html")
    assert problem in text
    assert checker.images == 2 * 3 * 4
    assert "The stated errors cannot be checked, because the truth of this scene is not known here." in text
    assert "All scenes" not in text


def test_a_scene_that_cannot_be_read_is_left_out(tmp_path, capsys):
    out, truth = make_files(tmp_path)
    with h5py.File(out, "r+") as handle:
        del handle["sample_00/x_hat"]
    problem = "sample_00: skipped: x_hat: missing"
    assert main(["report", str(out), "--truth", str(truth), "-o", str(tmp_path / "page.html")]) == 1
    assert problem in capsys.readouterr().err
    text, _ = read_page(tmp_path / "page.html")
    assert "sample_00 was skipped: x_hat: missing" in text
    assert re.findall(r'<section id="(.*?)">', text) == ["sample_01"]


def test_a_file_that_is_no_reconstruction_is_refused(tmp_path, capsys):
    _, truth = make_files(tmp_path)
    assert main(["report", str(truth), "-o", str(tmp_path / "page.html")]) == 2
    assert "in.h5: sample_00: x_hat: missing" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_chains_that_have_not_mixed_are_told(tmp_path, capsys):
    verdict = "not converged: R-hat of lag is 1.300 (at most 1.02 wanted)"
    out, _ = make_files(tmp_path, count=1, status=Status.NOT_CONVERGED, diagnostics={"verdict": verdict})
    assert main(["report", str(out), "-o", str(tmp_path / "page.html")]) == 1
    assert verdict in capsys.readouterr().err
    text, _ = read_page(tmp_path / "page.html")
    assert "Not converged: R-hat of lag is 1.300 (at most 1.02 wanted)." in text


def test_a_scene_without_information_is_told_and_judged_no_further(tmp_path, capsys):
    out, truth = make_files(tmp_path, count=1, status=Status.PRIOR_ONLY)
    assert main(["report", str(out), "--truth", str(truth), "-o", str(tmp_path / "page.html")]) == 1
    assert "sample_00: prior only: the counts hold no information" in capsys.readouterr().err
    text, _ = read_page(tmp_path / "page.html")
    assert "sample_00 shows only the model&#39;s prior" in text
    assert "This result says nothing about the patient" in text
    assert "Stated errors" not in text


def test_every_scene_has_one_overall_verdict(tmp_path):
    out, truth = make_files(tmp_path)
    write_report(tmp_path / "page.html", out, truth=truth)
    text, _ = read_page(tmp_path / "page.html")
    assert text.count('<div class="overall ') == 2
    assert all(part.index('class="overall ') < part.index('class="verdicts"') for part in text.split("<section")[1:])
