"""Dose of the patient: what reports and image headers state, the skin dose that follows, notices, and planning.

:func:`read_dose` reads dose reports and images; :func:`skin_dose` estimates the skin dose and :func:`notices` compares
both with the levels of SIR and NCRP. :mod:`fluorojax.dose.planning` goes the other way: from a reconstruction to the
dose per frame that a wanted standard deviation takes.
"""
