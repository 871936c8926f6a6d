"""Metric Gaussian variational inference of a scene, with the uncertainty of the spec parameters carried through.

MGVI (Knollmüller & Enßlin, arXiv:1901.11033) works around a mean: linear response gives mirrored residuals, the mean
moves to where the energy averaged over the residuals is least, and both steps repeat. If it infers scene and spec
together, MGVI advances too slowly along the valley between gain drift and slow change, stops early, and states too
small an uncertainty. Here the spec, and the hyperparameters if wanted, are *outer* latents whose posterior comes from
elsewhere: from the marginals of the calibration (:func:`outer_draws`) or from the model's own Laplace marginal
(:func:`marginal_draws`). Each residual belongs to one outer draw, and contains the response of the scene to this draw
in addition to the noise. :func:`solve_mgvi` infers all other latents.
"""

from fluorojax.engines.mgvi.outer import OuterDraws as OuterDraws
from fluorojax.engines.mgvi.outer import marginal_draws as marginal_draws
from fluorojax.engines.mgvi.outer import outer_draws as outer_draws
from fluorojax.engines.mgvi.result import MgviResult as MgviResult
from fluorojax.engines.mgvi.solve import solve_mgvi as solve_mgvi
