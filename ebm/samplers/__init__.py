"""Ways to draw from `exp(-E / T)`, one file each."""

from ebm.samplers.sampler import Sampler as Sampler
from ebm.samplers.sampler import State as State
from ebm.samplers.langevin import Langevin as Langevin  # isort: skip
from ebm.samplers.metropolis_langevin import MetropolisLangevin as MetropolisLangevin  # isort: skip
from ebm.samplers.hamiltonian import Hamiltonian as Hamiltonian  # isort: skip
from ebm.samplers.parallel_tempering import ParallelTempering as ParallelTempering  # isort: skip
