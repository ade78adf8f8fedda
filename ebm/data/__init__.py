"""Datasets with labels, one file each, and the pairs of variables that are made of them."""

from ebm.data.source import Source as Source
from ebm.data.digits import Digits as Digits
from ebm.data.binary_digits import BinaryDigits as BinaryDigits
from ebm.data.images import Images as Images
from ebm.data.subset import Subset as Subset
from ebm.data.plane import Checkerboard as Checkerboard
from ebm.data.plane import EightGaussians as EightGaussians
from ebm.data.plane import Rings as Rings
from ebm.data.plane import TwoMoons as TwoMoons
from ebm.data.dependence import Circle as Circle
from ebm.data.dependence import CorrelatedNormal as CorrelatedNormal
from ebm.data.dependence import IndependentNormal as IndependentNormal
from ebm.data.dependence import IndependentUniform as IndependentUniform
from ebm.data.dependence import MirroredCheckerboard as MirroredCheckerboard
from ebm.data.dependence import Parity as Parity
from ebm.data.dependence import SignFlip as SignFlip
from ebm.data.dependence import Spiral as Spiral
from ebm.data.surfaces import Spirals as Spirals
from ebm.data.surfaces import ThinSurface as ThinSurface
from ebm.data.pairs import Pairs as Pairs
from ebm.data.points import Points as Points
from ebm.data.halves import Halves as Halves
from ebm.data.views import TwoViews as TwoViews
from ebm.data.trajectories import Simulated as Simulated
from ebm.data.trajectories import TrajectoryPairs as TrajectoryPairs
from ebm.data.recorded import Recorded as Recorded
