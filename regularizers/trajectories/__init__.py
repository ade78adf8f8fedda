"""Terms that read codes in the order of time, with what was done between them."""

from ebm.regularizers.trajectories.temporal_smoothness import TemporalSmoothness as TemporalSmoothness
from ebm.regularizers.trajectories.inverse_dynamics import InverseDynamics as InverseDynamics
