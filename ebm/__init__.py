"""Energy-based models: score how well variables fit together, infer those that are missing, train without collapse.

Read `energy`, then `minimize` and `free_energy`, then one of `losses` and one of `regularizers`, then `learner`.
"""

from ebm.energy import Energy as Energy
from ebm.minimize import Minimum as Minimum
from ebm.minimize import Restarts as Restarts
from ebm.minimize import minimize as minimize
from ebm.solve import Status as Status
from ebm.problem import SumOfSquares as SumOfSquares
from ebm.free_energy import FreeEnergy as FreeEnergy
from ebm.solvers import LBFGS as LBFGS
from ebm.solvers import Adam as Adam
from ebm.solvers import GradientDescent as GradientDescent
from ebm.solvers import ProximalGradient as ProximalGradient
from ebm.adjoint import Detached as Detached
from ebm.adjoint import Implicit as Implicit
from ebm.adjoint import OneStep as OneStep
from ebm.adjoint import Truncated as Truncated
from ebm.adjoint import Unrolled as Unrolled
from ebm.constraints import Ball as Ball
from ebm.constraints import Box as Box
from ebm.constraints import NonNegative as NonNegative
from ebm.constraints import Simplex as Simplex
from ebm.constraints import Sphere as Sphere
from ebm.penalties import L1 as L1
from ebm.penalties import L2 as L2
from ebm.penalties import GroupL1 as GroupL1
from ebm.penalties import NonNegativeL1 as NonNegativeL1

__version__ = "0.1.0"
