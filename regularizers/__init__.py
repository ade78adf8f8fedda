"""Terms that keep the information of codes high, with no negatives.

Each takes the codes of any number of branches, `(batch, D)` each, to one number to go down.
"""

if __name__ != "ebm.regularizers":
    raise ImportError("import it as ebm.regularizers: write `from ebm.regularizers import ...`")

from ebm.regularizers.variance import Variance as Variance
from ebm.regularizers.covariance import Covariance as Covariance
from ebm.regularizers.cross_correlation import CrossCorrelation as CrossCorrelation
