"""Which y goes with x, its own or one of those of earlier batches?"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

from ebm.free_energy import FreeEnergy
from ebm.losses.negatives import by_rows, in_single_precision, matching_batch


@final
class MomentumContrast(nn.Module):
    """`mean_i -log( exp(-F(x_i, y_i) / T) / (exp(-F(x_i, y_i) / T) + sum_k exp(-F(x_i, q_k) / T)) )`, `q` a queue.

    MoCo: He et al. 2020, eq. 1. The queue holds the codes of the last `size` y that were trained on, of all processes;
    use an energy whose y comes from a moving average, such as `Predictive` with `MovingAverage`. It starts empty, where
    the paper's code starts with noise: the first batch has no wrong answers, a loss of zero and no gradient. A call in
    training mode puts the codes of y in, after use; a call in evaluation mode leaves the queue as it is.
    A `symmetric` learner calls twice a step, and the second call finds other views of its own images in the queue, as
    wrong answers: train it one way round, as the paper does. The size 65,536 and the temperature 0.07 are the paper's.
    For `chunk` see `negatives.by_chunks`.
    """

    queue: Tensor

    def __init__(self, size: int = 65536, temperature: float = 0.07, chunk: int | None = None) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"the queue of MomentumContrast holds at least 1 code, got a size of {size}")
        self.size, self.temperature, self.chunk = size, temperature, chunk
        # As long as there are codes in it, newest first: no mask, and nothing to wait for a device for.
        self.register_buffer("queue", torch.empty(0))

    def forward(self, F: FreeEnergy, hx: Tensor, hy: Tensor) -> Tensor:
        """Codes `(batch, ...)` to a scalar. Raises ValueError on codes of another shape than those in the queue."""
        batch = matching_batch(self, hx, hy)
        hx, hy = in_single_precision(F, hx, hy)
        answers = batch.gather(hy.detach())
        queue = self._queue(answers)

        def surprise(hx: Tensor, hy: Tensor) -> Tensor:
            right = F(hx, hy)[:, None]
            wrong = F.pairs(hx, queue) if len(queue) else right[:, :0]
            logits = -torch.cat([right, wrong], 1) / self.temperature
            return logits.logsumexp(1) - logits[:, 0]

        value = batch.mean(by_rows(surprise, (hx, hy), 1 + len(queue), self.chunk))
        if self.training:
            # Not in place: the derivative of the energies reads the queue as it was.
            self.queue = torch.cat([answers.flip(0), queue])[: self.size]
        return value

    def _queue(self, answers: Tensor) -> Tensor:
        if not len(self.queue):
            return answers[:0]
        if self.queue.shape[1:] != answers.shape[1:]:
            raise ValueError(
                f"the queue of MomentumContrast holds codes of shape {tuple(self.queue.shape[1:])}, got some of"
                f" {tuple(answers.shape[1:])}: use one loss for each kind of code"
            )
        return self.queue.to(answers)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        saved = state_dict.get(f"{prefix}queue", self.queue)
        if len(saved) <= self.size:  # a longer one is an error, which torch reports
            self.queue = self.queue.new_empty(saved.shape, dtype=saved.dtype)
        super()._load_from_state_dict(state_dict, prefix, *args)
