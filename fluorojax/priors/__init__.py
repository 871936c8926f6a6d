"""Building blocks of scene priors: pyramids of splines, power spectra, local scales, smoothing."""

from fluorojax.priors.local_scale import LocalScales as LocalScales
from fluorojax.priors.local_scale import carried as carried
from fluorojax.priors.local_scale import curvature as curvature
from fluorojax.priors.local_scale import local_variance as local_variance
from fluorojax.priors.local_scale import scene_field as scene_field
from fluorojax.priors.local_scale import update_scales as update_scales
from fluorojax.priors.pyramid import Pyramid as Pyramid
from fluorojax.priors.pyramid import cosine_matrix as cosine_matrix
from fluorojax.priors.smoothing import smooth as smooth
from fluorojax.priors.spectra import corner_index as corner_index
from fluorojax.priors.spectra import dynamic_spectrum as dynamic_spectrum
from fluorojax.priors.spectra import octave_shares as octave_shares
from fluorojax.priors.spectra import static_spectrum as static_spectrum
