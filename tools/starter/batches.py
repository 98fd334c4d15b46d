"""Batches of training samples of similar length, right-padded."""

from __future__ import annotations

import random
from collections.abc import Iterator

import torch
from torch import Tensor

from tools.starter.conversations import ConversationSource, Sample

POOL_SAMPLES = 1024
LENGTH_STEP_TOKENS = 16


def pad(samples: list[Sample], pad_id: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets of shape ``(samples, tokens)``; targets are -1 where no answer token follows."""
    longest = max(len(sample.ids) for sample in samples) - 1
    tokens = -(-longest // LENGTH_STEP_TOKENS) * LENGTH_STEP_TOKENS
    inputs = torch.full((len(samples), tokens), pad_id)
    targets = torch.full((len(samples), tokens), -1)
    for row, sample in enumerate(samples):
        length = len(sample.ids) - 1
        ids = torch.tensor(sample.ids)
        inputs[row, :length] = ids[:-1]
        targets[row, :length] = torch.where(torch.tensor(sample.is_answer[1:]), ids[1:], -1)
    return inputs, targets


def batches(
    source: ConversationSource, rng: random.Random, *, batch_tokens: int, context_tokens: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of at most ``batch_tokens`` padded tokens; samples longer than the context are left out."""
    while True:
        drawn = (source.sample(rng) for _ in range(POOL_SAMPLES))
        pool = sorted(
            (sample for sample in drawn if len(sample.ids) <= context_tokens), key=lambda sample: len(sample.ids)
        )
        groups: list[list[Sample]] = [[]]
        for sample in pool:
            if (len(groups[-1]) + 1) * (len(sample.ids) + LENGTH_STEP_TOKENS) > batch_tokens and groups[-1]:
                groups.append([])
            groups[-1].append(sample)
        rng.shuffle(groups)
        for group in groups:
            yield pad(group, source.tokenizer.eos)
