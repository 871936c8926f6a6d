"""Dose reports and image headers: values, sums, repeats, and what is refused."""

import shutil

import pytest
from dose_files import container, content, event, number, save_image, save_report, totals
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from fluorojax.dose.reading import read_dose
from fluorojax.dose.record import compare_totals
from fluorojax.io import InputError


def test_a_report_is_summed_and_agrees_with_its_totals(report):
    record = read_dose([report])
    sums = record.totals
    assert (sums.kerma_gy, sums.area_product_gycm2) == (pytest.approx(0.6), pytest.approx(60.0))
    assert (sums.fluoroscopy_s, sums.acquisition_s) == (pytest.approx(30.0), pytest.approx(4.0))
    assert sums.fluoroscopy_kerma_gy == pytest.approx(0.3)
    assert sums.lacking == {}
    comparisons = compare_totals(record.files[0])
    assert {comparison.quantity for comparison in comparisons} == {"kerma_gy", "area_product_gycm2", "fluoroscopy_s"}
    assert all(comparison.agrees for comparison in comparisons)


def test_units_of_a_report_are_honoured(tmp_path):
    units = {"kerma": "mGy", "area_product": "dGy.cm2", "duration": "min"}
    path = save_report(
        tmp_path / "r.dcm",
        [
            totals(
                units={"kerma": "mGy", "area_product": "mGy.cm2", "fluoroscopy": "min"}, kerma=5.0, area_product=4e3
            ),
            event("1.1", units=units, kerma=5.0, area_product=40.0, duration=0.5),
        ],
    )
    record = read_dose([path])
    (only,) = record.events
    assert (only.kerma_gy, only.area_product_gycm2, only.duration_s) == (
        pytest.approx(5e-3),
        pytest.approx(4.0),
        pytest.approx(30.0),
    )
    assert all(comparison.agrees for comparison in compare_totals(record.files[0]))


def test_a_discrepancy_is_named_and_the_larger_total_decides(tmp_path):
    items = [totals(kerma=2.0, area_product=1e-3), event("1.1", kerma=1.0, area_product=1e-3), event("1.2", kerma=None)]
    record = read_dose([save_report(tmp_path / "r.dcm", items)])
    different = [str(c) for c in compare_totals(record.files[0]) if not c.agrees]
    assert different == [
        "reference air kerma: the sum over the events, 1 Gy, differs from the report's total, 2 Gy (-50.0 %); "
        "1 events do not report it"
    ]
    assert record.totals.kerma_gy == 1.0
    assert record.decisive.kerma_gy == 2.0
    assert record.totals.lacking["kerma_gy"] == 1


def test_planes_add_up(tmp_path):
    items = [totals(kerma=0.1), totals(kerma=0.2), event("1.1", kerma=0.3)]
    record = read_dose([save_report(tmp_path / "r.dcm", items)])
    assert record.stated is not None
    assert record.stated.kerma_gy == pytest.approx(0.3)


def test_durations_come_from_pulses_where_none_is_stated(tmp_path):
    items = [event("1.1", kerma=0.1, pulses=30, rate=15.0), event("1.2", kerma=0.1, pulses=1, rate=0.01, width=5.0)]
    record = read_dose([save_report(tmp_path / "r.dcm", items)])
    assert [e.duration_s for e in record.events] == [pytest.approx(2.0), pytest.approx(5e-3)]
    assert all(e.duration_computed for e in record.events)


def test_private_and_unknown_items_are_passed_over(tmp_path):
    private = number(3.0, "001", "Height of System", "mm")
    unknown = event("1.1", "other", kerma=0.1)
    unknown.ContentSequence.append(container("005", "Wedges", [private]))
    record = read_dose([save_report(tmp_path / "r.dcm", [totals(extra=[private], kerma=0.1), unknown])])
    assert record.totals.kerma_gy == pytest.approx(0.1)
    assert record.totals.fluoroscopy_kerma_gy is None
    assert "neither fluoroscopy nor an acquisition" in record.files[0].remarks[0]


def test_a_calibration_factor_is_told_and_not_applied(tmp_path):
    factor = number(0.9, "122322", "Calibration Factor", "1")
    items = [totals(extra=[container("122505", "Calibration", [factor])], kerma=0.1), event("1.1", kerma=0.1)]
    record = read_dose([save_report(tmp_path / "r.dcm", items)])
    assert "calibration factor of 0.9" in record.files[0].remarks[0]
    assert record.totals.kerma_gy == pytest.approx(0.1)


def test_the_same_object_counts_once(report, tmp_path):
    copy = tmp_path / "copy.dcm"
    shutil.copy(report, copy)
    record = read_dose([report, copy])
    assert len(record.files) == 1
    assert record.totals.kerma_gy == pytest.approx(0.6)
    assert "same DICOM object" in record.remarks[0]


def test_two_reports_of_a_study_count_shared_events_once(tmp_path):
    first = [event("1.1", kerma=0.1), event("1.2", kerma=0.2)]
    second = [event("1.2", kerma=0.2), event("1.3", kerma=0.4)]
    paths = [save_report(tmp_path / "a.dcm", first), save_report(tmp_path / "b.dcm", second)]
    record = read_dose(paths)
    assert record.totals.kerma_gy == pytest.approx(0.7)
    assert (len(record.events), record.repeated) == (3, 1)
    assert len(record.studies) == 1
    assert read_dose(reversed(paths)).totals.kerma_gy == pytest.approx(0.7)


def test_events_that_differ_between_reports_are_named(tmp_path):
    paths = [save_report(tmp_path / f"{v}.dcm", [event("1.1", kerma=v)]) for v in (0.3, 0.1)]
    for order in (paths, paths[::-1]):
        record = read_dose(order)
        assert record.totals.kerma_gy == pytest.approx(0.3)
        assert "the larger value counts" in record.remarks[0]


def test_a_report_completes_an_image_of_the_same_event(tmp_path):
    image = save_image(
        tmp_path / "i.dcm",
        IrradiationEventUID="1.1",
        ImageAndFluoroscopyAreaDoseProduct="50",
        PositionerPrimaryAngle="30",
        FrameTime="100",
    )
    report = save_report(tmp_path / "r.dcm", [event("1.1", "acquisition", kerma=0.1, area_product=4e-4)])
    record = read_dose([image, report])
    (only,) = record.events
    assert only.kerma_gy == pytest.approx(0.1)
    assert only.area_product_gycm2 == pytest.approx(4.0)  # the report's, not the image's 5
    assert only.primary_deg == 30.0
    assert (only.duration_s, only.duration_computed) == (pytest.approx(0.3), True)


def test_units_of_an_image_are_those_of_the_standard(tmp_path):
    path = save_image(
        tmp_path / "i.dcm",
        ImageAndFluoroscopyAreaDoseProduct="12.5",
        EntranceDoseInmGy="2.5",
        EntranceDose=7,
        RadiationSetting="GR",
        FrameTimeVector=[0, 100, 100],
        KVP="80",
    )
    (only,) = read_dose([path]).events
    assert only.area_product_gycm2 == pytest.approx(1.25)  # dGy·cm²
    assert only.entrance_gy == pytest.approx(2.5e-3)  # mGy, before the whole dGy
    assert only.kerma_gy is None
    assert (only.mode, only.duration_s, only.tube_kv) == ("acquisition", pytest.approx(0.3), 80.0)
    only = read_dose([save_image(tmp_path / "j.dcm", EntranceDose=7, RadiationSetting="SC")]).events[0]
    assert (only.entrance_gy, only.mode, only.duration_s) == (pytest.approx(0.7), "fluoroscopy", None)


def test_an_image_without_dose_says_where_it_is(tmp_path):
    record = read_dose([save_image(tmp_path / "i.dcm")])
    assert "neither a kerma-area product (0018,115E)" in record.files[0].remarks[0]
    assert record.totals.kerma_gy is None


def test_folders_are_read(report, tmp_path):
    (tmp_path / "notes.txt").write_text("no DICOM")
    assert read_dose([tmp_path]).totals.kerma_gy == pytest.approx(0.6)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="a folder without DICOM files"):
        read_dose([empty])


def test_patients_are_not_mixed(report, tmp_path):
    other = save_report(tmp_path / "o.dcm", [event("1.9", kerma=0.1)], PatientID="P2")
    with pytest.raises(InputError, match="another patient than in"):
        read_dose([report, other])


@pytest.mark.parametrize(
    ("items", "problem"),
    [
        ([event("1.1", units={"kerma": None}, kerma=0.1)], r"irradiation event 1, Dose \(RP\): is 0.1 without a unit"),
        ([event("1.1", units={"kerma": "Gy.m2"}, kerma=0.1)], "'Gy.m2' is no unit of air kerma"),
        ([event("1.1", kerma=-0.1)], "is -0.1; expected a number that is not negative"),
        ([event("1.1", kerma="NaN")], "is nan; expected a finite number"),
        ([event("1.1", kerma="1e999")], "is inf; expected a finite number"),
        ([event("1.1", kerma=0.1), event("1.2", duration=-1.0)], "irradiation event 2, Irradiation Duration: is -1"),
        ([totals(kerma=-2.0)], "accumulated dose 1, reference air kerma: is -2"),
        ([], "neither irradiation events nor accumulated dose"),
    ],
)
def test_numbers_without_sense_are_refused(tmp_path, items, problem):
    path = save_report(tmp_path / "r.dcm", items)
    with pytest.raises(InputError, match=problem) as found:
        read_dose([path])
    assert str(found.value).startswith(str(path))
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"template": "10011"}, r"template 10011 \(CT Radiation Dose\)"),
        ({"template": "10040"}, "Enhanced X-Ray Radiation Dose"),
        ({"template": "2000", "root": "121144"}, "template 2000"),
        ({"template": None, "root": "121144"}, "no template"),
        ({"procedure": "71651007"}, "procedure reported: is 'Procedure 71651007'; expected Projection X-Ray"),
    ],
)
def test_other_reports_are_refused(tmp_path, changes, problem):
    path = save_report(tmp_path / "r.dcm", [event("1.1", kerma=0.1)], **changes)
    with pytest.raises(InputError, match=problem):
        read_dose([path])


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"ImageAndFluoroscopyAreaDoseProduct": "-1"}, r"\(0018,115E\) is -1; expected a number that is not negative"),
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.2"}, r"'CT Image Storage', modality 'XA'; expected an X-ray radiation"),
        ({"NumberOfFrames": 0}, "NumberOfFrames"),
    ],
)
def test_other_images_are_refused(tmp_path, fields, problem):
    with pytest.raises(InputError, match=problem):
        read_dose([save_image(tmp_path / "i.dcm", **fields)])


def test_what_is_no_dicom_is_refused(tmp_path):
    text = tmp_path / "a.txt"
    text.write_text("no DICOM")
    with pytest.raises(InputError, match="is no DICOM file"):
        read_dose([text])
    with pytest.raises(InputError, match="does not exist"):
        read_dose([tmp_path / "missing.dcm"])
    with pytest.raises(InputError, match="none are given"):
        read_dose([])


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_truncated_report_never_gives_a_smaller_dose(report, tmp_path, undefined, syntax):
    """Wherever the file is cut, it is refused, or all that counts was read."""
    path = tmp_path / "cut.dcm"
    dataset = dcmread(report)
    dataset.file_meta.TransferSyntaxUID = syntax
    for element in dataset.iterall():
        element.is_undefined_length = undefined and element.VR == "SQ"
        for item in element.value if element.VR == "SQ" else ():
            item.is_undefined_length_sequence_item = undefined
    dataset.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    whole = path.read_bytes()
    assert read_dose([path]).totals.kerma_gy == pytest.approx(0.6)
    refused = 0
    for length in range(132, len(whole), 101):
        path.write_bytes(whole[:length])
        try:
            record = read_dose([path])
        except InputError:
            refused += 1
        else:
            assert record.totals.kerma_gy == pytest.approx(0.6), length
    assert refused > 10


def test_a_truncated_image_is_refused(tmp_path):
    path = save_image(tmp_path / "i.dcm", ImageAndFluoroscopyAreaDoseProduct="12.5")
    whole = path.read_bytes()
    for length in range(200, len(whole) - 24 - 12, 37):  # up to the head of the pixels
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            read_dose([path])


def test_a_report_with_a_text_where_a_number_should_stand(tmp_path):
    odd = content("TEXT", "113738", "Dose (RP)")
    odd.TextValue = "much"
    broken = event("1.1")
    broken.ContentSequence.append(odd)
    record = read_dose([save_report(tmp_path / "r.dcm", [broken])])
    assert record.totals.kerma_gy is None


def test_totals_of_several_studies_add_up_whether_events_or_reports_state_them(tmp_path):
    first = save_report(tmp_path / "a.dcm", [event("1.1", kerma=3.0)], StudyInstanceUID="1.2.3")
    second = save_report(tmp_path / "b.dcm", [totals(kerma=2.0)], StudyInstanceUID="1.2.4")
    third = save_report(tmp_path / "c.dcm", [totals(kerma=1.5), event("2.1", kerma=0.5)], StudyInstanceUID="1.2.5")
    again = save_report(tmp_path / "d.dcm", [totals(kerma=2.0)], StudyInstanceUID="1.2.4")  # of the same study
    record = read_dose([first, second, third, again])
    assert record.totals.kerma_gy == pytest.approx(3.5)
    assert record.stated is not None
    assert record.stated.kerma_gy == pytest.approx(3.5)
    assert record.decisive.kerma_gy == pytest.approx(6.5)
