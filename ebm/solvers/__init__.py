"""Ways to go down an energy, one file each."""

from ebm.solvers.solver import Point as Point
from ebm.solvers.solver import Problem as Problem
from ebm.solvers.solver import Solver as Solver
from ebm.solvers.gradient_descent import GradientDescent as GradientDescent  # isort: skip
from ebm.solvers.adam import Adam as Adam  # isort: skip
from ebm.solvers.lbfgs import LBFGS as LBFGS  # isort: skip
from ebm.solvers.proximal_gradient import ProximalGradient as ProximalGradient  # isort: skip
