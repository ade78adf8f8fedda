"""Ways to average a latent out at a temperature, one file each; a minimum is the limit of no temperature."""

from ebm.marginals.marginal import Estimate as Estimate
from ebm.marginals.marginal import Marginal as Marginal
from ebm.marginals.marginal import marginalise as marginalise
from ebm.marginals.prior import Lebesgue as Lebesgue
from ebm.marginals.prior import Normal as Normal
from ebm.marginals.prior import Prior as Prior
from ebm.marginals.prior import Uniform as Uniform
from ebm.marginals.enumerated import Enumerated as Enumerated  # isort: skip
from ebm.marginals.laplace import Laplace as Laplace  # isort: skip
from ebm.marginals.importance import ImportanceSampling as ImportanceSampling  # isort: skip
from ebm.marginals.annealed import AnnealedImportanceSampling as AnnealedImportanceSampling  # isort: skip
from ebm.marginals.variational import Variational as Variational  # isort: skip
