"""The program of the study of memory: what it trains on, and which agents it compares."""

import importlib.util

import torch
from runs import ROOT

PATH = ROOT / "benchmarks" / "programs" / "memory.py"
spec = importlib.util.spec_from_file_location("memory_program", PATH)
memory = importlib.util.module_from_spec(spec)
spec.loader.exec_module(memory)


def test_the_model_is_trained_on_free_dots_that_begin_anywhere():
    pictures, actions = memory.wandered(50, seed=0)
    assert pictures.shape == (50, memory.ROLLOUT + 1, 9, 12, 12)
    assert actions.shape == (50, memory.ROLLOUT, 2)
    _, called = memory.WORLD.signs(pictures)
    assert torch.equal(called.sum(-1), torch.ones(50, memory.ROLLOUT + 1))


def test_codes_do_not_know_of_signs():
    encoder = memory.DotAlone(12, 4)
    pictures = torch.rand(3, 9, 12, 12)
    other = torch.cat([pictures[:, :1], torch.rand(3, 8, 12, 12)], 1)
    assert torch.equal(encoder(pictures), encoder(other))


def test_every_agent_of_the_page_plays():
    found = memory.agents(memory.train(0, 1))
    assert {f"slots_{count}" for count in range(1, 5)} | {"random", "no_keys", "read", "blurred", "told"} == set(found)
