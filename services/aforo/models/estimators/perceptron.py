"""Training of a multilayer perceptron. The only module that imports torch.

Axes: B rows of a batch, N rows, D columns of the matrix, K outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from aforo.errors import TrainingError
from aforo.features.feature import Matrix
from aforo.models.estimators.estimator import Examples, Task

# Steps per epoch, at least: a few hundred rows in batches of 512 would hardly move the weights.
_LEAST_STEPS = 32


def train_perceptron(
    train: Examples,
    validation: Examples,
    task: Task,
    *,
    hidden: Sequence[int],
    learning_rate: float,
    weight_decay: float,
    dropout: float,
    batch_rows: int,
    epochs: int,
    patience: int,
    seed: int,
) -> list[tuple[Matrix, Matrix]]:
    """Return weights (in, out) and bias (out,) of each layer, those with the lowest validation loss.

    Parameters
    ----------
    train, validation
        Standardised, the targets of a regression too. Classes to learn from may be probabilities (N, K).

    Raises
    ------
    TrainingError
        The loss on the validation part stops being a finite number.
    """
    X_ND, y_N = _tensors(train, task)
    X_val, y_val = _tensors(validation, task)
    batch_rows = max(1, min(batch_rows, len(X_ND) // _LEAST_STEPS))
    with _reproducible(seed):
        network = _perceptron(X_ND.shape[1], hidden, 1 if task.kind == "binary" else task.width, dropout)
        _start_from_the_rate(network[-1], y_N, task)
        optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
        order = torch.Generator().manual_seed(seed)

        def validation_loss() -> float:
            network.eval()
            with torch.no_grad():
                return float(_loss(network(X_val), y_val, task))

        best, best_loss, waited = copy.deepcopy(network.state_dict()), validation_loss(), 0
        for _ in range(epochs):
            network.train()
            for batch in torch.split(torch.randperm(len(X_ND), generator=order), batch_rows):
                optimizer.zero_grad()
                batch_loss = _loss(network(X_ND[batch]), y_N[batch], task)  # (B, D) -> (B, K) -> scalar
                torch.autograd.backward(batch_loss)
                optimizer.step()
            loss = validation_loss()
            if not np.isfinite(loss):
                raise TrainingError(
                    f"neural_network: the validation loss is {loss} with learning_rate {learning_rate:g}",
                    hint="lower `learning_rate`",
                )
            if loss < best_loss:
                best, best_loss, waited = copy.deepcopy(network.state_dict()), loss, 0
            else:
                waited += 1
            if waited >= patience:
                break
        network.load_state_dict(best)
    return [
        (layer.weight.detach().numpy().T.astype(np.float64), layer.bias.detach().numpy().astype(np.float64))
        for layer in network
        if isinstance(layer, nn.Linear)
    ]


def _tensors(examples: Examples, task: Task) -> tuple[torch.Tensor, torch.Tensor]:
    y = examples.y
    if y.ndim == 2 and task.kind == "binary":
        y = y[:, 1]
    y_type = np.int64 if task.kind == "multiclass" and y.ndim == 1 else np.float32
    return torch.from_numpy(examples.X.astype(np.float32)), torch.from_numpy(y.astype(y_type))


def _perceptron(columns: int, hidden: Sequence[int], outputs: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for units in hidden:
        layers += [nn.Linear(columns, units), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        columns = units
    return nn.Sequential(*layers, nn.Linear(columns, outputs))


def _start_from_the_rate(last: nn.Module, y_N: torch.Tensor, task: Task) -> None:
    assert isinstance(last, nn.Linear)  # noqa: S101  made so by _perceptron
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)  # the standardised target of a regression has mean 0
    with torch.no_grad():
        if task.kind == "binary":
            last.bias.fill_(torch.logit(y_N.mean()))
        elif task.kind == "multiclass":
            shares = y_N.mean(dim=0) if y_N.ndim == 2 else torch.bincount(y_N, minlength=task.width) / len(y_N)
            last.bias.copy_(torch.log(shares))


def _loss(scores_BK: torch.Tensor, y_B: torch.Tensor, task: Task) -> torch.Tensor:
    if task.is_regression:
        return nn.functional.mse_loss(scores_BK[:, 0], y_B)
    if task.kind == "binary":
        return nn.functional.binary_cross_entropy_with_logits(scores_BK[:, 0], y_B)
    return nn.functional.cross_entropy(scores_BK, y_B)


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """One thread, deterministic algorithms and a seeded generator inside; the process's own state after."""
    threads = torch.get_num_threads()
    strict = torch.are_deterministic_algorithms_enabled()
    state = torch.get_rng_state()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)
        torch.set_rng_state(state)
