"""The imaging chain Π → Σ_t → D, one stage a module, and the operator composed of them."""

from fluorojax.physics.attenuation import BeerLambert as BeerLambert
from fluorojax.physics.dark import DarkRate as DarkRate
from fluorojax.physics.description import ChainDescription as ChainDescription
from fluorojax.physics.description import StageNote as StageNote
from fluorojax.physics.distortion import Distortion as Distortion
from fluorojax.physics.dose import FrameDose as FrameDose
from fluorojax.physics.exposure import ExposureWindow as ExposureWindow
from fluorojax.physics.extensions import EXTENSIONS as EXTENSIONS
from fluorojax.physics.extensions import extended as extended
from fluorojax.physics.gain import GainDrift as GainDrift
from fluorojax.physics.lag import ChargeReleaseLag as ChargeReleaseLag
from fluorojax.physics.operator import PUBLISHED_OPERATOR as PUBLISHED_OPERATOR
from fluorojax.physics.operator import FluoroscopyOperator as FluoroscopyOperator
from fluorojax.physics.psf import VeilingGlare as VeilingGlare
from fluorojax.physics.registry import PRESETS as PRESETS
from fluorojax.physics.registry import operator_from_list as operator_from_list
from fluorojax.physics.registry import register_stage as register_stage
from fluorojax.physics.registry import stages_as_list as stages_as_list
from fluorojax.physics.scatter import Scatter as Scatter
from fluorojax.physics.slow_lag import SlowLag as SlowLag
from fluorojax.physics.stage import CountStage as CountStage
from fluorojax.physics.stage import RateStage as RateStage
from fluorojax.physics.stage import Stage as Stage
from fluorojax.physics.stage import TemporalStage as TemporalStage
