"""Acting by planning: controllers, episodes in a world, and what they are compared with."""

from ebm.planning.agent import Agent as Agent
from ebm.planning.agent import Following as Following
from ebm.planning.mpc import ModelPredictiveControl as ModelPredictiveControl
from ebm.planning.hierarchy import HierarchicalControl as HierarchicalControl
from ebm.planning.episodes import Played as Played
from ebm.planning.episodes import play as play
from ebm.planning.behaviour_cloning import GoalConditionedCloning as GoalConditionedCloning
from ebm.planning.conformal import conformal_margin as conformal_margin
from ebm.planning.true_dynamics import TrueDynamics as TrueDynamics
from ebm.planning.remembering import Remembering as Remembering
