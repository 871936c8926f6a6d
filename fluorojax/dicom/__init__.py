"""Results as DICOM objects for a PACS: derived images, their standard deviation, and a structured summary.

:mod:`~fluorojax.dicom.export` turns a file of this package into them, :mod:`~fluorojax.dicom.derived` makes the images,
:mod:`~fluorojax.dicom.summary` the structured report and :mod:`~fluorojax.dicom.deidentify` takes out who the patient
is. Reading is in :mod:`fluorojax.io.dicom`.
"""
