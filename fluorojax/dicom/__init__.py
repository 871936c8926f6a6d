"""DICOM in and out: runs of X-ray angiography and fluoroscopy as counts with their protocol, and results for a PACS.

Reading is :mod:`~fluorojax.dicom.files` (headers and pixels, never beyond their declared size),
:mod:`~fluorojax.dicom.checks` (what is refused, and why), :mod:`~fluorojax.dicom.intensity` (stored values to a signal
that is linear in the dose), :mod:`~fluorojax.dicom.timing`, :mod:`~fluorojax.dicom.exposure` and
:mod:`~fluorojax.dicom.shutters`; :mod:`fluorojax.io.dicom` makes scenes of them. Writing is
:mod:`~fluorojax.dicom.derived` and :mod:`~fluorojax.dicom.summary`, with :mod:`~fluorojax.dicom.deidentify` on request.
The extra ``dicom`` installs what they need.
"""

# The readers of fluorojax.io use this package, and its modules the errors of fluorojax.io: whichever is imported first,
# fluorojax.io has to begin.
import fluorojax.io as _io  # noqa: F401
