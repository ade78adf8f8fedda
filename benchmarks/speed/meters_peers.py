"""What other libraries have for what our meters read, as functions of codes.

Those whose library is missing raise ImportError.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from losses_peers import _bare
from torch import Tensor

from ebm.meters import distance_correlation, lidar, mutual_information, rankme, total_correlation, uniformity
from ebm.regularizers import Uniformity

Reading = Callable[[Tensor], float]  # codes (N, D) -> a number
VIEWS = 2  # rows that follow one another are taken for views of one sample, as stable-pretraining does

FEW = 2_000  # of which all distances fit into memory several times


def stable_pretraining_rankme() -> Reading:
    """`stable_pretraining.callbacks.rankme.RankMe`, with the 1e-5 that it adds to each share."""
    callback = _callback("rankme").RankMe("rank", "codes", 1, 1)
    return lambda codes: _logged(callback, codes)


def stable_pretraining_lidar() -> Reading:
    """`stable_pretraining.callbacks.lidar.LiDAR`, of all codes, two of a sample."""

    def read(codes: Tensor) -> float:
        samples = len(codes) // VIEWS
        callback = _callback("lidar").LiDAR("lidar", "codes", len(codes), codes.shape[1], samples, VIEWS)
        return float(callback._compute_lidar(codes)["lidar"])

    return read


def our_lidar() -> Reading:
    """Of the same codes grouped alike."""
    return lambda codes: lidar(codes.view(-1, VIEWS, codes.shape[1]))


def dcor_halves() -> Reading:
    """`dcor.u_distance_correlation_sqr` of the two halves of the features of 2,000 codes."""
    library = importlib.import_module("dcor")
    return lambda codes: float(
        library.u_distance_correlation_sqr(*(half.numpy() for half in codes[:FEW].double().chunk(2, 1)))
    )


def dcor_lines() -> Reading:
    """`dcor.u_distance_correlation_sqr` of the first two features, by its N log N method."""
    library = importlib.import_module("dcor")
    return lambda codes: float(
        library.u_distance_correlation_sqr(*codes[:, :2].double().T.contiguous().numpy(), method="mergesort")
    )


def scikit_learn_information() -> Reading:
    """`sklearn.feature_selection.mutual_info_regression` of the first two features."""
    library = importlib.import_module("sklearn.feature_selection")
    return lambda codes: float(
        library.mutual_info_regression(codes[:, :1].numpy(), codes[:, 1].numpy(), random_state=0)[0]
    )


def ours_of_two(fn: Callable[[Tensor, Tensor], float]) -> Callable[[], Reading]:
    """A statistic of two codes, of the first two features."""
    return lambda: lambda codes: fn(codes[:, :1], codes[:, 1:2])


def our_uniformity_as_a_loss() -> Reading:
    """The regularizer, in single precision."""
    return lambda codes: float(Uniformity()(codes))


def _same(fn: Reading) -> Callable[[], Reading]:
    return lambda: fn


COMPARED: dict[str, dict[str, Callable[[], Reading]]] = {
    "RankMe": {"ebm": _same(rankme), "stable-pretraining": stable_pretraining_rankme},
    "LiDAR": {"ebm": our_lidar, "stable-pretraining": stable_pretraining_lidar},
    "Distance correlation of two features": {"ebm": ours_of_two(distance_correlation), "dcor": dcor_lines},
    "Distance correlation of the halves of 2,000 codes": {
        "ebm": lambda: lambda codes: distance_correlation(*codes[:FEW].chunk(2, 1)),
        "dcor": dcor_halves,
    },
    "Mutual information of two features": {
        "ebm": ours_of_two(mutual_information),
        "ebm, as total correlation": lambda: lambda codes: total_correlation(codes[:, :2]),
        "scikit-learn": scikit_learn_information,
    },
    "Uniformity": {"ebm": _same(uniformity), "ebm, as a regularizer in single precision": our_uniformity_as_a_loss},
}


def _logged(callback: Any, codes: Tensor) -> float:
    """What a callback logs of the codes that its queue holds."""
    logged: dict[str, float] = {}
    callback._target_queue = SimpleNamespace(data=codes)
    module = SimpleNamespace(log=lambda name, value: logged.update({name: float(value)}))
    callback.on_validation_batch_end(SimpleNamespace(global_rank=0), module, {}, {}, 0)
    return logged["rank"]


def _callback(name: str) -> ModuleType:
    """A file of its callbacks without what the others import: queues, registries, image libraries."""
    _bare("stable-pretraining", ["stable_pretraining", "stable_pretraining.callbacks"])
    _stand_in("lightning.pytorch", vars(importlib.import_module("pytorch_lightning")))
    _stand_in("stable_pretraining.callbacks.queue", {"find_or_create_queue_callback": None})
    _stand_in("stable_pretraining.callbacks.registry", {"log": lambda *_, **__: None})
    silent = {"resolve_verbose": lambda verbose: False, "log_header": lambda title: None}
    _stand_in("stable_pretraining.callbacks.utils", silent)
    logger = importlib.import_module("loguru").logger
    logger.disable("stable_pretraining")
    return importlib.import_module(f"stable_pretraining.callbacks.{name}")


def _stand_in(name: str, contents: dict[str, Any]) -> None:
    module = ModuleType(name)
    vars(module).update({key: value for key, value in contents.items() if not key.startswith("__")})
    sys.modules.setdefault(name.split(".")[0], ModuleType(name.split(".")[0]))
    sys.modules.setdefault(name, module)


def codes_of(shape: tuple[int, int]) -> Tensor:
    """Normal codes with dependent features, in single precision, the same at each call."""
    generator = torch.Generator().manual_seed(0)
    mixed = torch.eye(shape[1]) + 0.5 * torch.randn(shape[1], shape[1], generator=generator) / shape[1] ** 0.5
    return torch.randn(shape, generator=generator) @ mixed
