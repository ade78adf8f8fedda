"""Worlds whose truth is known: pure functions of states, any number of copies at once."""

from ebm.worlds.world import World as World
from ebm.worlds.trajectories import Policy as Policy
from ebm.worlds.trajectories import Trajectories as Trajectories
from ebm.worlds.trajectories import simulate as simulate
from ebm.worlds.moving_digits import MovingDigits as MovingDigits
from ebm.worlds.pond import Pond as Pond
from ebm.worlds.policies import Scripted as Scripted
from ebm.worlds.policies import Uniform as Uniform
from ebm.worlds.policies import Wander as Wander
from ebm.worlds.two_rooms import TwoRooms as TwoRooms
from ebm.worlds.s_maze import SMaze as SMaze
from ebm.worlds.dynamic_obstacles import DynamicObstacles as DynamicObstacles
from ebm.worlds.fork import Fork as Fork
from ebm.worlds.wall_rooms import WallRooms as WallRooms
from ebm.worlds.wall_walks import wall_walks as wall_walks
from ebm.worlds.errands import Errands as Errands
from ebm.worlds.episode import Episode as Episode
from ebm.worlds.episode import observed as observed
from ebm.worlds.environment import Environment as Environment
from ebm.worlds.vector_environment import VectorEnvironment as VectorEnvironment
from ebm.worlds.foreign import Frame as Frame
from ebm.worlds.foreign import record as record
