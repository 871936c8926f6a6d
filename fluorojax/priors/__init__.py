"""Building blocks of scene priors: cosine bands, power spectra, local scales, smoothing."""

from fluorojax.priors.bands import Band as Band
from fluorojax.priors.bands import Bands as Bands
from fluorojax.priors.bands import cosine_matrix as cosine_matrix
from fluorojax.priors.local_scale import LocalScales as LocalScales
from fluorojax.priors.local_scale import dynamic_field as dynamic_field
from fluorojax.priors.local_scale import initial_scales as initial_scales
from fluorojax.priors.local_scale import local_variance as local_variance
from fluorojax.priors.local_scale import scene_field as scene_field
from fluorojax.priors.local_scale import static_field as static_field
from fluorojax.priors.local_scale import update_scales as update_scales
from fluorojax.priors.smoothing import smooth as smooth
from fluorojax.priors.spectra import corner_index as corner_index
from fluorojax.priors.spectra import dynamic_spectrum as dynamic_spectrum
from fluorojax.priors.spectra import static_spectrum as static_spectrum
