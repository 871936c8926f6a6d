"""Reading DICOM: runs of X-ray angiography (XA) and radiofluoroscopy (XRF) as counts with their protocol.

:mod:`~fluorojax.io.dicom.files` reads headers and pixels, never beyond their declared size;
:mod:`~fluorojax.io.dicom.checks` says what is refused and why; :mod:`~fluorojax.io.dicom.intensity` makes stored values
linear in the dose; :mod:`~fluorojax.io.dicom.timing`, :mod:`~fluorojax.io.dicom.exposure` and
:mod:`~fluorojax.io.dicom.shutters` take the protocol from headers; :mod:`~fluorojax.io.dicom.reader` makes scenes of
all that. The extra ``dicom`` installs what they need.
"""
