"""The imaging chain Π → Σ_t → D, one stage a module, and the operator composed of them."""

from fluorojax.physics.attenuation import BeerLambert as BeerLambert
from fluorojax.physics.exposure import ExposureWindow as ExposureWindow
from fluorojax.physics.gain import GainDrift as GainDrift
from fluorojax.physics.lag import ChargeReleaseLag as ChargeReleaseLag
from fluorojax.physics.operator import FluoroscopyOperator as FluoroscopyOperator
from fluorojax.physics.operator import default_operator as default_operator
from fluorojax.physics.psf import VeilingGlare as VeilingGlare
from fluorojax.physics.scatter import Scatter as Scatter
