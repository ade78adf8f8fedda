"""Training: the named, weighted terms of an arm, summed, logged and minimised."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves

from ebm.adjoint import Adjoint
from ebm.constraints import Constraint
from ebm.energy import Energy, Variable
from ebm.free_energy import FreeEnergy
from ebm.losses.supervised import Supervised
from ebm.marginals.marginal import Marginal
from ebm.penalties import Penalty
from ebm.solvers.solver import Solver


@final
@dataclass(frozen=True)
class Term:
    """One term of what is minimised, and its weight."""

    weight: float
    fn: nn.Module


NO_TERMS: Mapping[str, Term] = {}


@final
class Learner(pl.LightningModule):
    """Minimises `sum_k weight_k loss_k(F, hx, hy) + sum_k weight_k regularizer_k(hx, hy)` over batches `(x, y)`.

    `solver`, `adjoint`, `within`, `penalty`, `restarts` and `marginal` say how a latent is inferred: see `FreeEnergy`.
    Every term is logged, weighted, under its name, with the spread of the codes and the norm of the gradient.
    Losses that are `Supervised` are given the labels of batches `(x, y, labels)`.
    `symmetric` takes each pair both ways round and averages, for energies in which x and y play different roles.
    The rate of the optimiser rises linearly over the share `warmup` of the steps, then falls along a cosine to the
    share `final_rate` of itself. `compile` compiles the networks (`torch.compile`).
    """

    def __init__(
        self,
        energy: Energy,
        losses: Mapping[str, Term] = NO_TERMS,
        regularizers: Mapping[str, Term] = NO_TERMS,
        solver: Solver | None = None,
        adjoint: Adjoint | None = None,
        within: Constraint | None = None,
        penalty: Penalty | None = None,
        restarts: int = 1,
        marginal: Marginal | None = None,
        symmetric: bool = False,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] = torch.optim.AdamW,
        warmup: float = 0.0,
        final_rate: float = 0.0,
        compile: bool = False,
    ) -> None:
        super().__init__()
        _check_terms(losses, regularizers)
        self.F = FreeEnergy(
            energy, solver, adjoint, within=within, penalty=penalty, restarts=restarts, marginal=marginal
        )
        self.losses = nn.ModuleDict({name: term.fn for name, term in losses.items()})
        self.regularizers = nn.ModuleDict({name: term.fn for name, term in regularizers.items()})
        self.weights = {name: term.weight for name, term in (*losses.items(), *regularizers.items())}
        self.supervised = [name for name, term in losses.items() if isinstance(term.fn, Supervised)]
        self.symmetric, self.optimizer = symmetric, optimizer
        self.warmup, self.final_rate = warmup, final_rate
        self.encode = torch.compile(energy.encode) if compile else energy.encode

    def forward(self, x: Tensor) -> Tensor:
        """The representation of `x` that other tasks use, `(batch, features)`."""
        return self.F.energy.represent(x)

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        x, y, *labels = batch
        self._check_batch(x, labels)
        terms, hx, hy = self.terms(x, y, labels)
        total = torch.stack(list(terms.values())).sum()
        if self._logs_now() or total.device.type == "cpu":
            self._check_finite(terms, hx, hy)
        if self._logs_now():
            self.log_dict({f"loss/{name}": value.detach() for name, value in terms.items()})
            self.log_dict({"loss/total": total.detach(), "train/std": hy.detach().float().std(0, correction=0).mean()})
            self._log_step()
        return total

    def terms(self, x: Tensor, y: Tensor, labels: Sequence[Tensor] = ()) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """The weighted terms of a batch by name, whose sum is minimised, and the codes of x and y."""
        hx, hy = self.encode(x, y)
        terms = self._terms(hx, hy, labels)
        if self.symmetric:
            swapped = self._terms(*self.encode(y, x), labels)
            terms = {name: (value + swapped[name]) / 2 for name, value in terms.items()}
        return terms, hx, hy

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> dict[str, Tensor]:
        hx, hy = self.F.energy.encode(*batch[:2])
        return {"hx": hx, "hy": hy}

    def on_validation_epoch_end(self) -> None:
        self._log_step()

    def configure_optimizers(self) -> Optimizer:
        optimizer = self.optimizer([p for p in self.parameters() if p.requires_grad])
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        return optimizer

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        # Not a scheduler: to ask for the number of steps where those are made would start the loaders before a run
        # that resumes knows where it stands.
        share = rate(self.global_step, self.trainer.estimated_stepping_batches, self.warmup, self.final_rate)
        for group in optimizer.param_groups:
            group["lr"] = share * group["initial_lr"]
        super().optimizer_step(epoch, batch_idx, optimizer, *args, **kwargs)
        self.F.energy.after_step(min(1.0, self.global_step / self.trainer.estimated_stepping_batches))

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        if self._logs_now():
            gradients = [p.grad for p in self.parameters() if p.grad is not None]
            self.log("train/gradient_norm", torch.nn.utils.get_total_norm(gradients))

    def _terms(self, hx: Tensor, hy: Tensor, labels: Sequence[Tensor]) -> dict[str, Tensor]:
        told = {name: labels[:1] if name in self.supervised else () for name in self.losses}
        losses = {name: self.weights[name] * fn(self.F, hx, hy, *told[name]) for name, fn in self.losses.items()}
        rows = self.F.energy.rows(hx, hy)
        return losses | {name: self.weights[name] * fn(*rows) for name, fn in self.regularizers.items()}

    def _logs_now(self) -> bool:
        trainer: Any = self.trainer
        return (self.global_step + 1) % trainer.log_every_n_steps == 0

    def _log_step(self) -> None:
        """Loggers take this as the step: updates that the weights have had. Their own count is off after a resume."""
        self.log("step", float(self.global_step))

    def _check_batch(self, x: Variable, labels: Sequence[Tensor]) -> None:
        if self.supervised and not labels:
            raise ValueError(
                f"the loss {' and '.join(self.supervised)} needs labels, got a batch of 2 tensors: give batches"
                " (x, y, labels), which `TwoViews` does with data.labels=true"
            )
        if len(tree_leaves(x)[0]) == 1 and any(isinstance(module, _BatchNorm) for module in self.modules()):
            raise ValueError(
                "batch normalisation needs at least 2 samples to train on, got a batch of 1: raise data.batch_size or"
                " use networks without it"
            )

    def _check_finite(self, terms: Mapping[str, Tensor], hx: Tensor, hy: Tensor) -> None:
        bad = [name for name, value in terms.items() if not bool(value.isfinite())]
        if not bad:
            return
        rows = [int((~h.isfinite().flatten(1).all(1)).sum()) for h in (hx, hy)]
        cause = f"{rows[0]} codes of x and {rows[1]} of y hold NaN or infinity" if any(rows) else "all codes are finite"
        raise FloatingPointError(
            f"at step {self.global_step} the term {' and '.join(bad)} is not finite; of {len(hx)} samples {cause}: look"
            " for such values in the data, lower the optimiser's rate, or clip the gradient (trainer.gradient_clip_val)"
        )


def _check_terms(losses: Mapping[str, Term], regularizers: Mapping[str, Term]) -> None:
    if not losses and not regularizers:
        raise ValueError("there is nothing to minimise: give at least one term under `losses` or `regularizers`")
    if both := sorted(losses.keys() & regularizers.keys()):
        raise ValueError(f"a loss and a regularizer are both named {', '.join(both)}: the log needs a name for each")
    if "total" in (*losses, *regularizers):
        raise ValueError("a term is named 'total', which is what the log calls their sum: give it another name")


def rate(step: int, steps: float, warmup: float, final: float) -> float:
    """The share of the full rate at a step."""
    rising = warmup * steps
    if step < rising:
        return min(1.0, (step + 1) / rising)
    if math.isinf(steps):
        return 1.0
    done = (step - rising) / max(1.0, steps - rising)
    return final + (1 - final) * (1 + math.cos(math.pi * min(1.0, done))) / 2
