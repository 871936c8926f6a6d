"""The No-U-Turn sampler on the whitened latents of one scene: exact posterior draws, summarised while they are drawn.

NumPyro's NUTS (Hoffman & Gelman, JMLR 15:1593, 2014; Phan et al., arXiv:1912.11554) runs in coordinates that
decorrelate the fields from spec parameters and hyperparameters, all of which are sampled together. Images are not kept:
each Markov chain updates moments and histograms of x (:mod:`fluorojax.engines.online_statistics`). A run advances in
blocks under one compilation, and its complete state can be written after each block, so that the run continues where it
was stopped.

The spec parameters may instead come from elsewhere, such as the calibration: then every iteration takes a fresh draw of
them, lets the fields follow, and moves the fields. That samples the *cut* distribution (Plummer, Stat. Comput. 25:37,
2015), in which the scene prior has no influence on the spec. It is exact where the response of the fields is linear, as
the coordinates then make fields and spec independent.
"""

from fluorojax.engines.nuts.convergence import Convergence as Convergence
from fluorojax.engines.nuts.export import to_datatree as to_datatree
from fluorojax.engines.nuts.export import write_netcdf as write_netcdf
from fluorojax.engines.nuts.kept import Watch as Watch
from fluorojax.engines.nuts.memory import bytes_needed as bytes_needed
from fluorojax.engines.nuts.options import LAYOUTS as LAYOUTS
from fluorojax.engines.nuts.options import NutsOptions as NutsOptions
from fluorojax.engines.nuts.result import NutsResult as NutsResult
from fluorojax.engines.nuts.run import sample_nuts as sample_nuts
from fluorojax.engines.nuts.spec_draws import draw_from_quantiles as draw_from_quantiles
from fluorojax.engines.nuts.spec_draws import spec_levels as spec_levels
from fluorojax.engines.nuts.state_file import ForeignStateError as ForeignStateError
