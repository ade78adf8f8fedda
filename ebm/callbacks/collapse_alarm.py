"""Says, while training goes on, that codes collapse, and of what kind the collapse is."""

from __future__ import annotations

import warnings
from collections import deque
from typing import Any, final

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from ebm.meters.kinds import ENOUGH, SEVERITY, Kind
from ebm.meters.verdict import Verdict, diagnose


@final
class CollapseAlarm(pl.Callback):
    """Diagnoses the codes of held-out pairs at each validation, and warns once of each kind of collapse that is found.

    Logs `collapse/<kind>` for the six kinds of `ebm.meters.diagnose`: how far each is beyond its threshold, above 1
    where it is found, at most 100. `rows` samples are looked at, spread evenly over the validation set. With `every`,
    also each so many steps the last training batches of the epoch that make `rows`, once there are 64, in evaluation
    mode, as `collapse_train/<kind>`: what is memorised collapses there first. With `stop` training ends in good order
    once the same kind has been found `patience` times in a row, of either sort. What has been warned of, and counted,
    is kept in checkpoints.

    It needs a module with a free energy `F`, whose `validation_step` returns `{"hx": ..., "hy": ...}`, as `Learner` is;
    with `every`, batches `(x, y, ...)` that `F.energy` encodes. Over several processes each looks at its own samples,
    the first one logs and warns, and they stop together once any has a reason.
    """

    def __init__(self, rows: int = 1024, every: int | None = None, stop: bool = False, patience: int = 3) -> None:
        for name, least, value in (("rows", ENOUGH, rows), ("every", 1, every), ("patience", 1, patience)):
            if value is not None and value < least:
                raise ValueError(f"CollapseAlarm needs `{name}` of at least {least}, got {value}")
        self.rows, self.every, self.stop, self.patience = rows, every, stop, patience
        self.verdict: Verdict | None = None
        """What was found last."""
        self.warned: set[str] = set()
        self.streaks: dict[str, int] = {}
        self._codes: list[tuple[Tensor, Tensor]] = []
        self._batches: deque[tuple[Tensor, Tensor]] = deque()
        self._looked = 0

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._codes = []

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        if not isinstance(outputs, dict) or not {"hx", "hy"} <= outputs.keys():
            raise TypeError(
                "CollapseAlarm reads codes off what validation_step returns, a dict with 'hx' and 'hy', got"
                f" {type(outputs).__name__}: return them, as ebm.learner.Learner does"
            )
        share = -(-self.rows // max(1, int(sum(trainer.num_val_batches))))
        hx, hy = outputs["hx"], outputs["hy"]
        some = torch.linspace(0, len(hy) - 1, min(share, len(hy)), device=hy.device).round().long()
        self._codes.append((hx[some].detach(), hy[some].detach()))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        codes, self._codes = self._codes, []
        if codes and not trainer.sanity_checking:
            self._look(trainer, pl_module, codes, "collapse")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._batches.clear()  # copies of a sample, or views of it, would be each other's nearest neighbours

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.every is None:
            return
        self._batches.append((batch[0], batch[1]))
        while (held := sum(len(x) for x, _ in self._batches)) - len(self._batches[0][0]) >= self.rows:
            self._batches.popleft()
        due = trainer.global_step > self._looked and trainer.global_step % self.every == 0
        if due and held >= ENOUGH:
            self._looked = trainer.global_step  # of batches whose gradients are accumulated the step is one
            self._look(trainer, pl_module, _encoded(trainer, pl_module, self._batches), "collapse_train")

    def state_dict(self) -> dict[str, Any]:
        return {"warned": sorted(self.warned), "streaks": dict(self.streaks)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.warned, self.streaks = set(state_dict["warned"]), dict(state_dict["streaks"])

    def _look(self, trainer: pl.Trainer, module: Any, codes: list[tuple[Tensor, Tensor]], prefix: str) -> None:
        hx, hy = (torch.cat(part) for part in zip(*codes, strict=True))
        if bool(hx.isfinite().all() & hy.isfinite().all()):
            with torch.random.fork_rng([hy.device] if hy.is_cuda else []):  # restarts of a latent draw numbers
                self.verdict = diagnose(module.F, hx, hy, self.rows)
            module.log_dict({f"{prefix}/{kind}": self.verdict.degrees[kind] for kind in SEVERITY}, rank_zero_only=True)
            kinds = self.verdict.kinds
        else:
            self._warn(trainer, "not finite", "codes hold NaN or infinity: lower the rate, or clip the gradient")
            kinds = ()
        if trainer.state.fn == TrainerFn.FITTING:
            self._count(trainer, kinds, prefix)

    def _count(self, trainer: pl.Trainer, kinds: tuple[Kind, ...], prefix: str) -> None:
        for kind in kinds:
            if kind != "none":
                self._warn(trainer, kind, f"at step {trainer.global_step}: {self.verdict}")
        others = {name: count for name, count in self.streaks.items() if not name.startswith(f"{prefix}/")}
        names = [f"{prefix}/{kind}" for kind in kinds if kind in SEVERITY]
        self.streaks = others | {name: self.streaks.get(name, 0) + 1 for name in names}
        if self.stop:
            reached = max(self.streaks.values(), default=0) >= self.patience
            trainer.should_stop |= trainer.strategy.reduce_boolean_decision(reached, all=False)

    def _warn(self, trainer: pl.Trainer, kind: str, text: str) -> None:
        if kind not in self.warned and trainer.is_global_zero:
            warnings.warn(text, stacklevel=2)
        self.warned.add(kind)


@torch.no_grad()
def _encoded(trainer: pl.Trainer, module: Any, batches: deque[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Codes of batches as evaluation makes them, the module left as it was."""
    training = module.training
    module.eval()
    try:
        with trainer.precision_plugin.forward_context():
            return [module.F.energy.encode(x, y) for x, y in batches]
    finally:
        module.train(training)
