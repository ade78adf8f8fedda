"""Many settings of one learner, trained at once: the cost of a few, for models so small that calls cost more than sums.

`torch.func.stack_module_state` and `vmap` make one call of what would be one call for each model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.optim import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, Optimizer, RAdam, RMSprop

from ebm.energy import Energy
from ebm.learner import Learner, rate

# Those that treat every number by itself, so that stacked models do not know of one another.
ELEMENTWISE = (SGD, Adam, AdamW, NAdam, RAdam, Adamax, Adagrad, Adadelta, RMSprop)


@final
class Vectorized:
    """Copies of `learner` that differ in numbers of its terms, from the same start, on the same batches.

    `settings` names numbers of terms, and gives each model's: `{"variance.weight": weights, "nt_xent.temperature":
    temperatures}`, `(models,)` each. A weight is that of the `Term`; any other is a number that the term's class keeps.

    Refused with ValueError: a name that is no number of a term, numbers of unequal count, an energy with a moving
    average, and an optimiser that looks at more than one number at a time, such as LARS. Latents cannot be inferred.
    Random numbers inside terms, such as directions of `SIGReg`, are the same for all models. `HSIC`,
    `DistanceCorrelation` and `SlicedAndersonDarling` cannot be stacked: torch has no rule for what they do.
    """

    def __init__(self, learner: Learner, settings: Mapping[str, Tensor]) -> None:
        self.learner = deepcopy(learner)
        self.settings = {name: torch.as_tensor(values) for name, values in settings.items()}
        self.models = _check(self.learner, self.settings)
        self._module = _Total(self.learner)
        self.parameters = {
            name: nn.Parameter(self._stacked(p), requires_grad=p.requires_grad)
            for name, p in self._module.named_parameters()
        }
        self.buffers = {name: self._stacked(b) for name, b in self._module.named_buffers()}
        device = next(self._module.parameters()).device
        self.settings = {name: values.to(device) for name, values in self.settings.items()}

    def _stacked(self, tensor: Tensor) -> Tensor:
        return tensor.detach().expand(self.models, *tensor.shape).clone()

    def losses(self, x: Tensor, y: Tensor) -> Tensor:
        """What each model would minimise, on the pairs `(x, y)`: `(models,)`."""

        def total(weights: dict[str, Tensor], values: dict[str, Tensor]) -> Tensor:
            return functional_call(self._module, weights, (x, y, values))

        return vmap(total, randomness="same")(self.parameters | self.buffers, self.settings)

    def train(self, batches: Iterator[tuple[Tensor, Tensor]], steps: int) -> Tensor:
        """Take so many steps of the learner's optimiser and schedule; the losses before each, `(steps, models)`.

        A model that diverges costs the others nothing.
        """
        optimizer: Optimizer = self.learner.optimizer([p for p in self.parameters.values() if p.requires_grad])
        if not isinstance(optimizer, ELEMENTWISE):
            names = ", ".join(kind.__name__ for kind in ELEMENTWISE)
            raise ValueError(
                f"{type(optimizer).__name__} may look at more than one number at a time, which would mix the models:"
                f" use one of {names}"
            )
        base = [group["lr"] for group in optimizer.param_groups]
        history = []
        self.learner.train()
        for step in range(steps):
            for group, full in zip(optimizer.param_groups, base, strict=True):
                group["lr"] = full * rate(step, steps, self.learner.warmup, self.learner.final_rate)
            optimizer.zero_grad()
            losses = self.losses(*next(batches))
            losses.sum().backward()
            optimizer.step()
            history.append(losses.detach())
        self.learner.eval()
        return torch.stack(history)

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of x and of y by every model, `(models, batch, ...)` both."""
        return self._call("encode", x, y)

    @torch.no_grad()
    def represent(self, x: Tensor) -> Tensor:
        """Representations of x by every model, `(models, batch, features)`."""
        return self._call("represent", x)

    def model(self, index: int) -> Learner:
        """One of the models by itself, as a learner of its own."""
        learner = deepcopy(self.learner)
        state = self.parameters | self.buffers
        learner.load_state_dict({name.removeprefix("learner."): t[index].detach() for name, t in state.items()})
        for name, values in self.settings.items():
            numbers, key = _slot(learner, name)
            numbers[key] = float(values[index])
        return learner

    def _call(self, method: str, *given: Tensor) -> Any:
        module = _Method(self.learner, method)
        return vmap(lambda weights: functional_call(module, weights, given))(self.parameters | self.buffers)


class _Total(nn.Module):
    """What a learner minimises, of pairs and of the numbers that are set for it."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, x: Tensor, y: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        with _set(self.learner, values):
            terms, _, _ = self.learner.terms(x, y)
            return torch.stack(list(terms.values())).sum()


class _Method(nn.Module):
    """A method of a learner's energy, as what calling a module does."""

    def __init__(self, learner: Learner, method: str) -> None:
        super().__init__()
        self.learner, self.method = learner, method

    def forward(self, *given: Tensor) -> Any:
        return getattr(self.learner.F.energy, self.method)(*given)


@contextmanager
def _set(learner: Learner, values: Mapping[str, Any]) -> Iterator[None]:
    """Within it the learner's terms have these numbers."""
    slots = {name: _slot(learner, name) for name in values}
    before = {name: numbers[key] for name, (numbers, key) in slots.items()}
    for name, (numbers, key) in slots.items():
        numbers[key] = values[name]
    try:
        yield
    finally:
        for name, (numbers, key) in slots.items():
            numbers[key] = before[name]


def _slot(learner: Learner, name: str) -> tuple[dict[str, Any], str]:
    """The dict that holds a number of a term, and the number's key in it."""
    term, _, number = name.rpartition(".")
    if number == "weight":
        return learner.weights, term
    terms: dict[str, nn.Module] = dict([*learner.losses.items(), *learner.regularizers.items()])
    return vars(terms[term]) if term in terms else {}, number


def _check(learner: Learner, settings: Mapping[str, Tensor]) -> int:
    """How many models the settings are of."""
    if not settings:
        raise ValueError(
            'there is nothing to vary: give settings such as {"variance.weight": torch.logspace(-1, 2, 64)}'
        )
    for name in settings:
        numbers, key = _slot(learner, name)
        if type(numbers.get(key)) not in (int, float):
            raise ValueError(f"{name} is no number of a term: name one of {', '.join(_numbers(learner))}")
    shapes = {name: tuple(values.shape) for name, values in settings.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise ValueError(f"settings need one number for each model, (models,), got {shapes}")
    if type(learner.F.energy).after_step is not Energy.after_step:
        raise ValueError(
            f"{type(learner.F.energy).__name__} does something after each step, such as moving an average, which"
            " stacked models do not do: train them one by one"
        )
    return len(next(iter(settings.values())))


def _numbers(learner: Learner) -> list[str]:
    terms = [*learner.losses.items(), *learner.regularizers.items()]
    found = [f"{name}.{key}" for name, fn in terms for key, value in vars(fn).items() if type(value) is float]
    return [*(f"{name}.weight" for name, _ in terms), *found]
