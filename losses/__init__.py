"""Ways to shape an energy: each takes the free energy and a batch of codes to one number to go down.

In reading order; `F` is the free energy, `hx, hy` are codes whose rows match.
"""

if __name__ != "ebm.losses":
    raise ImportError("the folder losses is imported as ebm.losses: write `from ebm.losses import ...`")

from ebm.losses.push_down import PushDown as PushDown
from ebm.losses.info_nce import InfoNCE as InfoNCE
from ebm.losses.nt_xent import NTXent as NTXent
from ebm.losses.margin import MarginContrastive as MarginContrastive
from ebm.losses.triplet import Triplet as Triplet
