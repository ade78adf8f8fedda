"""Optimisers of weights that torch does not have."""

from ebm.optimizers.lars import LARS as LARS
