"""Terms that keep the information of codes high, with no negatives.

Each takes the codes of any number of branches, `(batch, D)` each, to one number to go down.
"""

if __name__ != "ebm.regularizers":
    raise ImportError("import it as ebm.regularizers: write `from ebm.regularizers import ...`")

from ebm.regularizers.variance import Variance as Variance
from ebm.regularizers.covariance import Covariance as Covariance
from ebm.regularizers.cross_correlation import CrossCorrelation as CrossCorrelation
from ebm.regularizers.whitening import WhitenedDistance as WhitenedDistance
from ebm.regularizers.coding_rate import CodingRate as CodingRate
from ebm.regularizers.frossl import FroSSL as FroSSL
from ebm.regularizers.mmcr import MMCR as MMCR
from ebm.regularizers.koleo import KoLeo as KoLeo
from ebm.regularizers.uniformity import Uniformity as Uniformity
from ebm.regularizers.sigreg import SIGReg as SIGReg
from ebm.regularizers.bhep import BHEP as BHEP
from ebm.regularizers.cramer_von_mises import SlicedCramerVonMises as SlicedCramerVonMises
from ebm.regularizers.anderson_darling import SlicedAndersonDarling as SlicedAndersonDarling
from ebm.regularizers.sliced_wasserstein import SlicedWasserstein as SlicedWasserstein
from ebm.regularizers.hsic import HSIC as HSIC
from ebm.regularizers.hsic import RandomFeatureHSIC as RandomFeatureHSIC
from ebm.regularizers.distance_correlation import DistanceCorrelation as DistanceCorrelation
from ebm.regularizers.latents import Penalised as Penalised
from ebm.regularizers.latents import GaussianInformation as GaussianInformation
from ebm.regularizers.latents import Capacity as Capacity
from ebm.regularizers.latents import CategoricalInformation as CategoricalInformation
from ebm.regularizers.latents import NuclearNorm as NuclearNorm
from ebm.regularizers.trajectories import InverseDynamics as InverseDynamics
from ebm.regularizers.trajectories import TemporalSmoothness as TemporalSmoothness
