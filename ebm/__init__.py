"""Energy-based models: score how well variables fit together, infer those that are missing, train without collapse.

Read `energy`, then `minimize` and `free_energy`, then one of `losses` and one of `regularizers`, then `learner`.
"""

from ebm.energy import Energy as Energy
from ebm.minimize import Minimum as Minimum
from ebm.minimize import Status as Status
from ebm.minimize import minimize as minimize
from ebm.free_energy import FreeEnergy as FreeEnergy
from ebm.solvers import LBFGS as LBFGS
from ebm.solvers import Adam as Adam
from ebm.solvers import GradientDescent as GradientDescent
from ebm.adjoint import Detached as Detached
from ebm.adjoint import Unrolled as Unrolled

__version__ = "0.1.0"
