"""Terms that keep the information of a latent low, where an encoder predicts it.

Each takes the codes of any number of branches to one number to go down, as those that keep information high do; where
a latent is inferred instead, the same is said by `penalty=`, `within=` and `marginal=` of a free energy.
"""

from ebm.regularizers.latents.penalised import Penalised as Penalised
from ebm.regularizers.latents.gaussian import Capacity as Capacity
from ebm.regularizers.latents.gaussian import GaussianInformation as GaussianInformation
from ebm.regularizers.latents.categorical import CategoricalInformation as CategoricalInformation
from ebm.regularizers.latents.nuclear_norm import NuclearNorm as NuclearNorm
