"""Looking through foreign files in a child process, which may crash, hang or be killed without harm.

The libraries that read HDF5, TIFF and the compressed pictures of DICOM were written for files that are what they claim
to be. :func:`examine` has a child process walk through a whole file first, under limits of time and memory
(:mod:`fluorojax.foreign.limits`); what the child has been through is safe to read here. This package imports nothing of
the rest of fluorojax, and the child imports NumPy and h5py (or tifffile, or pydicom with its decoders) only.
"""

from fluorojax.foreign.examine import Refusal, Report, examine, stop_child, vouch

__all__ = ["Refusal", "Report", "examine", "stop_child", "vouch"]
