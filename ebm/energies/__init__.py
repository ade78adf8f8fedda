"""Architectures of energies, one file each."""

from ebm.energies.joint_embedding import JointEmbedding as JointEmbedding
from ebm.energies.predictive import MovingAverage as MovingAverage
from ebm.energies.predictive import Predictive as Predictive
from ebm.energies.predictive import SharedBranch as SharedBranch
from ebm.energies.predictive import StopGradient as StopGradient
from ebm.energies.self_distillation import SelfDistillation as SelfDistillation
from ebm.energies.autoencoder import Autoencoder as Autoencoder
from ebm.energies.latent_decoder import LatentDecoder as LatentDecoder
from ebm.energies.labelled_decoder import LabelledDecoder as LabelledDecoder
from ebm.energies.conditional_autoencoder import ConditionalAutoencoder as ConditionalAutoencoder
from ebm.energies.conditional_autoencoder import OfLatent as OfLatent
from ebm.energies.sparse_coding import SparseCoding as SparseCoding
from ebm.energies.density import Density as Density
