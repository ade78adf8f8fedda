"""Small networks to start from; any `nn.Module` takes their place."""

from ebm.networks.conv import ConvNet as ConvNet
from ebm.networks.mlp import MLP as MLP
from ebm.networks.channels import CategoricalChannel as CategoricalChannel
from ebm.networks.channels import GaussianChannel as GaussianChannel
from ebm.networks.prototypes import Prototypes as Prototypes
from ebm.networks.resnet import ResNet18 as ResNet18
from ebm.networks.whitened import Whitened as Whitened
