"""Energy-based models: score how well variables fit together, infer those that are missing, train without collapse.

Read `energy`, then `minimize` and `free_energy`, then one of `losses` and one of `regularizers`, then `learner`.
"""

from ebm.energy import Energy as Energy
from ebm.energy import Sum as Sum
from ebm.minimize import Minimum as Minimum
from ebm.minimize import Restarts as Restarts
from ebm.minimize import minimize as minimize
from ebm.solve import Status as Status
from ebm.problem import SumOfSquares as SumOfSquares
from ebm.free_energy import FreeEnergy as FreeEnergy
from ebm.augmented_lagrangian import AugmentedLagrangian as AugmentedLagrangian
from ebm.constrained import ConstrainedMinimum as ConstrainedMinimum
from ebm.marginals import AnnealedImportanceSampling as AnnealedImportanceSampling
from ebm.marginals import Enumerated as Enumerated
from ebm.marginals import Estimate as Estimate
from ebm.marginals import ImportanceSampling as ImportanceSampling
from ebm.marginals import Laplace as Laplace
from ebm.marginals import Lebesgue as Lebesgue
from ebm.marginals import Marginal as Marginal
from ebm.marginals import Normal as Normal
from ebm.marginals import Uniform as Uniform
from ebm.marginals import Variational as Variational
from ebm.marginals import marginalise as marginalise
from ebm.solvers import LBFGS as LBFGS
from ebm.solvers import Adam as Adam
from ebm.solvers import GradientDescent as GradientDescent
from ebm.solvers import BarzilaiBorwein as BarzilaiBorwein
from ebm.solvers import ProjectedGradient as ProjectedGradient
from ebm.solvers import NonlinearConjugateGradients as NonlinearConjugateGradients
from ebm.solvers import BFGS as BFGS
from ebm.solvers import Newton as Newton
from ebm.solvers import GaussNewton as GaussNewton
from ebm.solvers import ProximalGradient as ProximalGradient
from ebm.solvers import ProximalLBFGS as ProximalLBFGS
from ebm.solvers import CrossEntropyMethod as CrossEntropyMethod
from ebm.solvers import ImprovedCrossEntropy as ImprovedCrossEntropy
from ebm.solvers import CategoricalCrossEntropy as CategoricalCrossEntropy
from ebm.solvers import MPPI as MPPI
from ebm.solvers import Enumeration as Enumeration
from ebm.solvers import SciPy as SciPy
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
from ebm.sample import Samples as Samples
from ebm.sample import sample as sample
from ebm.samplers import Hamiltonian as Hamiltonian
from ebm.samplers import Langevin as Langevin
from ebm.samplers import MetropolisLangevin as MetropolisLangevin
from ebm.samplers import ParallelTempering as ParallelTempering

__version__ = "0.1.0"
