"""The kinds of collapse that a verdict tells apart: what each means, what helps, and where it begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

Kind = Literal["none", "target", "complete", "latent", "cluster", "dimensional", "nonlinear", "too few samples"]

# From the worst: after the first three the energy tells nothing, clusters leave the logarithm of their number, a
# subspace its dimensions, and a surface fills the space at least.
SEVERITY: tuple[Kind, ...] = ("target", "complete", "latent", "cluster", "dimensional", "nonlinear")
ENOUGH = 64  # codes; of fewer, ranks and neighbours are those of chance
MOST = 100.0  # how far beyond its threshold a reading is said to be


class Threshold(NamedTuple):
    """Where a reading says collapse: below `value`, or above it.

    Each lies between codes with a fault and without, generated ones and small models of digits, of other seeds than
    those that the confusion matrix of `benchmarks/verdicts.py` is made of.
    """

    value: float
    above: bool = False


THRESHOLDS: Mapping[str, Threshold] = {
    # Unit codes: models of digits .81 and above, collapsed ones .30 and below; normal codes with a mean of 1 have .71.
    "spread of directions": Threshold(0.4),
    # Models of digits 6 and above, collapsed ones .065 and below; codes spread over the unit sphere have 1.
    "length of the spread": Threshold(0.2),
    # Half precision (bfloat16) has eight binary digits: what is less than the last of them is not there to be learned.
    "relative spread": Threshold(2.0**-8),
    # Squared standard errors: two views through one network 3 and below but for 6 where one direction is left.
    "branches apart": Threshold(25.0, above=True),
    # Unrelated codes of 256 samples have .5 +- .02; models of digits .70 and above.
    "energy tells pairs apart": Threshold(0.6),
    # A free latent of as many features as y leaves less than .001, one of two features .34.
    "energy left of wrong pairs": Threshold(0.05),
    # Clusters that are half as wide as they are apart; models of digits, those told the classes too, 1.14 and below.
    "gap between clusters": Threshold(2.0, above=True),
    # Models of digits .19 and above, collapsed ones .042 and below.
    "effective rank": Threshold(0.09),
    # Spectra of networks decay, by powers of the rank, and still leave more than half above a thousandth.
    "live directions": Threshold(0.5),
    # Where 5 % of the variance is left or less; models of digits 4.8 and below, collapsed ones 36 and above.
    "drop in the spectrum": Threshold(7.0, above=True),
    # Models of digits .46 and above, those bent on purpose .24 and below; surfaces of 4 dimensions in 64 .20 and below,
    # normal codes around 100 centres, the hardest to tell from a surface, .28 and above but in 256 dimensions.
    "intrinsic dimension": Threshold(0.27),
}

MEANING: Mapping[str, str] = {
    "spread of directions": "root of the variance of codes on the unit sphere, which is what the energy sees",
    "length of the spread": "root of the variance of codes, summed over dimensions",
    "relative spread": "the same over the root mean square length of codes",
    "branches apart": "squared mean of hx - hy in standard errors, mean over dimensions",
    "energy tells pairs apart": "AUROC of the energy of matching pairs against others",
    "energy left of wrong pairs": "share of the energy of pairs that do not match which the latent leaves",
    "gap between clusters": "median over codes of the largest ratio of distances to successive neighbours",
    "effective rank": "over what so many codes and dimensions can have",
    "live directions": "share of directions above a thousandth of the first",
    "drop in the spectrum": "largest ratio of successive singular values beyond which little is left",
    "intrinsic dimension": "over that of normal codes of the same spectrum and number",
}

WHY: Mapping[Kind, str] = {
    "none": "no reading is beyond its threshold",
    "target": "the target and its prediction tell nothing of each other, or went to one point together",
    "complete": "all codes are one point, or nearly",
    "latent": "the latent explains any y, so that the energy is low whether or not it goes with x",
    "cluster": "codes are in few tight heaps, far apart, and little is left within each",
    "dimensional": "codes lie in a subspace of few directions",
    "nonlinear": "codes lie on a thin surface that is bent through all directions",
    "too few samples": f"ranks and neighbours of fewer than {ENOUGH} codes are those of chance",
}

ADVICE: Mapping[Kind, str] = {
    "none": "",
    "target": (
        "let no derivative reach the target, put a predictor before it, let the target move more slowly; where a target"
        " is frozen, or a prediction constant, see that x holds what the target asks for"
    ),
    "complete": (
        "add what keeps codes apart: a variance term, wrong answers (contrastive), or a higher weight of those against"
        " the push-down"
    ),
    "latent": "limit what the latent can tell: fewer features, a penalty, noise (a marginal), or discrete values",
    "cluster": (
        "give positives that differ more within a class or prototype, use more prototypes or a higher temperature, or"
        " add a term that spreads codes within (uniformity)"
    ),
    "dimensional": "add or raise a term that decorrelates (covariance, log-determinant), or widen the narrowest layer",
    "nonlinear": (
        "variance and covariance cannot see this: add a term that sees any dependence (HSIC, distance correlation), or"
        " widen the narrowest layer; compare with the intrinsic dimension of the data"
    ),
    "too few samples": f"give at least {ENOUGH} codes, better 256 or more",
}
