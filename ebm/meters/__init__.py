"""Numbers about what was learned.

A meter takes the free energy and the codes of pairs that match, `meter(F, hx, hy) -> dict[str, float]`; probes take
representations with labels. No meter is a verdict: read each one's docstring for what it cannot see.
"""

from ebm.meters.spectrum import effective_rank as effective_rank
from ebm.meters.spectrum import normalized_std as normalized_std
from ebm.meters.spectrum import rank as rank
from ebm.meters.spectrum import rankme as rankme
from ebm.meters.spectrum import singular_values as singular_values
from ebm.meters.spectrum import spread as spread
from ebm.meters.landscape import energy_gap as energy_gap
from ebm.meters.mmd import squared_mmd as squared_mmd
from ebm.meters.plane import chains as chains
from ebm.meters.plane import density as density
from ebm.meters.probes import knn_probe as knn_probe
from ebm.meters.probes import linear_probe as linear_probe
from ebm.meters.binary import entries as entries
