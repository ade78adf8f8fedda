"""Ways to shape an energy: each takes the free energy and a batch of codes to one number to go down.

In reading order; `F` is the free energy, `hx, hy` are codes whose rows match.
"""

if __name__ != "ebm.losses":
    raise ImportError("the folder losses is imported as ebm.losses: write `from ebm.losses import ...`")

from ebm.losses.push_down import PushDown as PushDown
from ebm.losses.wrong_answers import FromBatch as FromBatch
from ebm.losses.wrong_answers import Given as Given
from ebm.losses.wrong_answers import MostOffending as MostOffending
from ebm.losses.wrong_answers import Sampled as Sampled
from ebm.losses.perceptron import Perceptron as Perceptron
from ebm.losses.hinge import Hinge as Hinge
from ebm.losses.log import LogLoss as LogLoss
from ebm.losses.lvq2 import LVQ2 as LVQ2
from ebm.losses.minimum_classification_error import MinimumClassificationError as MinimumClassificationError
from ebm.losses.square_square import SquareSquare as SquareSquare
from ebm.losses.square_exponential import SquareExponential as SquareExponential
from ebm.losses.negative_log_likelihood import NegativeLogLikelihood as NegativeLogLikelihood
from ebm.losses.minimum_empirical_error import MinimumEmpiricalError as MinimumEmpiricalError
from ebm.losses.info_nce import InfoNCE as InfoNCE
from ebm.losses.nt_xent import NTXent as NTXent
from ebm.losses.clip import CLIP as CLIP
from ebm.losses.decoupled import DecoupledContrastive as DecoupledContrastive
from ebm.losses.decoupled import WeightedDecoupledContrastive as WeightedDecoupledContrastive
from ebm.losses.supervised import Supervised as Supervised
from ebm.losses.supervised_contrastive import SupervisedContrastive as SupervisedContrastive
from ebm.losses.sigmoid_pairs import SigmoidPairs as SigmoidPairs
from ebm.losses.spectral_contrastive import SpectralContrastive as SpectralContrastive
from ebm.losses.momentum_contrast import MomentumContrast as MomentumContrast
from ebm.losses.margin import MarginContrastive as MarginContrastive
from ebm.losses.triplet import Triplet as Triplet
from ebm.losses.density import ContrastiveDivergence as ContrastiveDivergence
from ebm.losses.density import PersistentContrastiveDivergence as PersistentContrastiveDivergence
from ebm.losses.density import ScoreMatching as ScoreMatching
from ebm.losses.density import SlicedScoreMatching as SlicedScoreMatching
from ebm.losses.density import DenoisingScoreMatching as DenoisingScoreMatching
from ebm.losses.density import NoiseContrastive as NoiseContrastive
from ebm.losses.density import ConditionalNoiseContrastive as ConditionalNoiseContrastive
from ebm.losses.density import EnergyDiscrepancy as EnergyDiscrepancy
from ebm.losses.density import PseudoLikelihood as PseudoLikelihood
from ebm.losses.density import RatioMatching as RatioMatching
