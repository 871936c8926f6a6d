"""Detectors as data: presets and files of one's own, and fitting them to flat, dark and edge runs.

:mod:`~fluorojax.detectors.detector` describes a detector and reads and writes its file,
:mod:`~fluorojax.detectors.fitting` makes one from measurements.
"""
