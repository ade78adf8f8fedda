"""Ways to go down an energy, one file each."""

from ebm.solvers.solver import Point as Point
from ebm.solvers.solver import Problem as Problem
from ebm.solvers.solver import Solver as Solver
from ebm.solvers.gradient_descent import GradientDescent as GradientDescent  # isort: skip
from ebm.solvers.adam import Adam as Adam  # isort: skip
from ebm.solvers.lbfgs import LBFGS as LBFGS  # isort: skip
from ebm.solvers.proximal_gradient import ProximalGradient as ProximalGradient  # isort: skip
from ebm.solvers.barzilai_borwein import BarzilaiBorwein as BarzilaiBorwein  # isort: skip
from ebm.solvers.proximal_lbfgs import ProximalLBFGS as ProximalLBFGS  # isort: skip
from ebm.solvers.projected_gradient import ProjectedGradient as ProjectedGradient  # isort: skip
from ebm.solvers.conjugate_gradients import NonlinearConjugateGradients as NonlinearConjugateGradients  # isort: skip
from ebm.solvers.bfgs import BFGS as BFGS  # isort: skip
from ebm.solvers.newton import Newton as Newton  # isort: skip
from ebm.solvers.gauss_newton import GaussNewton as GaussNewton  # isort: skip
from ebm.solvers.cross_entropy import CrossEntropyMethod as CrossEntropyMethod  # isort: skip
from ebm.solvers.improved_cross_entropy import ImprovedCrossEntropy as ImprovedCrossEntropy  # isort: skip
from ebm.solvers.categorical_cross_entropy import CategoricalCrossEntropy as CategoricalCrossEntropy  # isort: skip
from ebm.solvers.mppi import MPPI as MPPI  # isort: skip
from ebm.solvers.enumeration import Enumeration as Enumeration  # isort: skip
from ebm.solvers.scipy import SciPy as SciPy  # isort: skip
