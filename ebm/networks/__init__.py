"""Small networks to start from; any `nn.Module` takes their place."""

from ebm.networks.conv import ConvNet as ConvNet
from ebm.networks.mlp import MLP as MLP
from ebm.networks.channels import CategoricalChannel as CategoricalChannel
from ebm.networks.channels import GaussianChannel as GaussianChannel
from ebm.networks.prototypes import Prototypes as Prototypes
from ebm.networks.resnet import ResNet18 as ResNet18
from ebm.networks.whitened import Whitened as Whitened
from ebm.networks.transitions import ConvTransition as ConvTransition
from ebm.networks.transitions import RecurrentTransition as RecurrentTransition
from ebm.networks.transitions import ResidualTransition as ResidualTransition
from ebm.networks.transitions import Transition as Transition
from ebm.networks.places import CategoricalPlaces as CategoricalPlaces
from ebm.networks.places import PlaceNet as PlaceNet
from ebm.networks.places import PlacesChannel as PlacesChannel
from ebm.networks.places import PlaceTransition as PlaceTransition
from ebm.networks.impala import Impala as Impala
