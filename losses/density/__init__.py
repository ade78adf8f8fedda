"""Losses that fit a density: y given x is to have the density `exp(-F(x, y)) / Z(x)`, whose Z nobody has to know.

By samples of the model: ContrastiveDivergence, PersistentContrastiveDivergence. By its slopes: ScoreMatching,
SlicedScoreMatching, DenoisingScoreMatching. Against noise: NoiseContrastive, ConditionalNoiseContrastive,
EnergyDiscrepancy. For discrete y: PseudoLikelihood, RatioMatching. `x` may be None.
"""

from ebm.losses.density.density_loss import DensityLoss as DensityLoss
from ebm.losses.density.contrastive_divergence import ContrastiveDivergence as ContrastiveDivergence
from ebm.losses.density.persistent_contrastive_divergence import (
    PersistentContrastiveDivergence as PersistentContrastiveDivergence,
)
from ebm.losses.density.score_matching import ScoreMatching as ScoreMatching
from ebm.losses.density.sliced_score_matching import SlicedScoreMatching as SlicedScoreMatching
from ebm.losses.density.denoising_score_matching import DenoisingScoreMatching as DenoisingScoreMatching
from ebm.losses.density.noise_contrastive import NoiseContrastive as NoiseContrastive
from ebm.losses.density.conditional_noise_contrastive import ConditionalNoiseContrastive as ConditionalNoiseContrastive
from ebm.losses.density.energy_discrepancy import EnergyDiscrepancy as EnergyDiscrepancy
from ebm.losses.density.pseudo_likelihood import PseudoLikelihood as PseudoLikelihood
from ebm.losses.density.ratio_matching import RatioMatching as RatioMatching
