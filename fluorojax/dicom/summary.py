"""The summary of a reconstruction as a DICOM structured report."""

from typing import TYPE_CHECKING

from pydicom import Dataset

from fluorojax.data.reconstruction import Reconstruction
from fluorojax.data.wording import in_words, nominal_value
from fluorojax.dicom.source import Source
from fluorojax.io.provenance import Provenance

if TYPE_CHECKING:
    from highdicom.sr import ContentItem

ENHANCED_SR = "1.2.840.10008.5.1.4.1.1.88.22"
_SCHEME = "99FLUOROJAX"


def summary_report(
    source: Source, result: Reconstruction, provenance: Provenance, *, series: str, number: int
) -> Dataset:
    """An Enhanced SR: the spec posterior with its intervals, the checks that were made, and the provenance.

    Numbers stand as numbers with their units, sentences as text; the source images are its evidence.
    """
    from highdicom.sr import ContainerContentItem, EnhancedSR, NumContentItem, RelationshipTypeValues, TextContentItem
    from highdicom.sr.coding import CodedConcept

    def code(value: str, meaning: str) -> CodedConcept:
        return CodedConcept(value[:16], _SCHEME, meaning[:64])

    def text(name: str, meaning: str, value: object) -> "ContentItem":
        return TextContentItem(code(name, meaning), str(value) or "not recorded", RelationshipTypeValues.CONTAINS)

    def numeric(name: str, meaning: str, value: float, unit: str) -> "ContentItem":
        unit = unit.replace("/frame", "/{frame}") or "1"
        return NumContentItem(
            code(name, meaning),
            float(value),
            CodedConcept(unit, "UCUM", unit),
            relationship_type=RelationshipTypeValues.CONTAINS,
        )

    items: list[ContentItem] = [text("STATUS", "How the run ended", result.status.value)]
    spec, std = result.spec.as_dict(), result.spec_std.as_dict()
    for index, parameter in enumerate(result.parameters):
        name, tag = parameter.name, f"P{index}"
        low, high = result.spec_interval.get(name, (float("nan"), float("nan")))
        prior = result.prior_ranges.get(name)
        words = in_words(
            parameter, spec[name], std[name], prior=prior, nominal=nominal_value(parameter, result.nominal)
        )
        items.append(text(f"{tag}.WORDS", name, words))
        facts = {"MEDIAN": spec[name], "SD": std[name], "Q05": low, "Q95": high}
        items += [
            numeric(f"{tag}.{what}", f"{name}, {what.lower()}", value, parameter.unit)
            for what, value in facts.items()
            if value == value and abs(value) < 1e12
        ]
    for key in ("verdict", "model", "mean_squared_residual", "information_in_counts", "variance_factor"):
        if key in result.diagnostics:
            items.append(text(f"D.{key}"[:16].upper(), key.replace("_", " "), result.diagnostics[key]))
    items += [
        text("METHOD", "Method", provenance.method),
        text("MODEL", "Model", provenance.model),
        text("SEED", "Seed", provenance.seed),
        text("INPUT", "SHA-256 of the input", provenance.input_sha256),
        text("VERSIONS", "Versions", ", ".join(f"{name} {version}" for name, version in provenance.versions.items())),
        text("NOTICE", "Notice", "Research software, not a medical device: not for diagnosis."),
    ]
    root = ContainerContentItem(code("SUMMARY", "Summary of a fluoroscopy reconstruction"), is_content_continuous=False)
    root.ContentSequence = items  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    made = source.derived(
        "1.2.840.10008.5.1.4.1.1.88.22", series=series, number=number, description="fluorojax summary"
    )
    report = EnhancedSR(
        evidence=source.evidence(),
        content=root,
        series_instance_uid=series,
        series_number=number,
        sop_instance_uid=made.SOPInstanceUID,
        instance_number=1,
        manufacturer="fluorojax",
        is_complete=True,
    )
    for element in made:
        if (
            element.keyword
            and element.keyword not in report
            and element.keyword != "ReferencedPerformedProcedureStepSequence"
        ):
            report[element.keyword] = element
    report.SeriesDescription = made.SeriesDescription
    return report
