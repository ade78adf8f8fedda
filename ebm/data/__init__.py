"""Datasets of labelled images, one file each, and the pairs of views that are made of them."""

from ebm.data.source import Source as Source
from ebm.data.digits import Digits as Digits
from ebm.data.images import Images as Images
from ebm.data.views import TwoViews as TwoViews
