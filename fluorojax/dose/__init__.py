"""Dose of the patient: what reports and image headers state, the skin dose that follows, notices, and planning.

:mod:`~fluorojax.dose.reading` reads dose reports and images; :mod:`~fluorojax.dose.skin` estimates the skin dose, and
:mod:`~fluorojax.dose.notices` compares both with the levels of SIR and NCRP. :mod:`~fluorojax.dose.planning` goes from
a reconstruction to the dose per frame that a wanted standard deviation takes.
"""
