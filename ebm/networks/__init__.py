"""Small networks to start from; any `nn.Module` takes their place."""

from ebm.networks.conv import ConvNet as ConvNet
from ebm.networks.mlp import MLP as MLP
