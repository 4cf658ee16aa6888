"""From a function of mixed rows to what each column contributes: Shapley values, exact and sampled, and a cheaper way.

Axes: D columns, M rows to compare with, Z mixtures of the row with one of them, R rounds.

References
----------
Štrumbelj and Kononenko, Explaining prediction models and individual predictions with feature contributions, Knowledge
and Information Systems 41, 2014 (permutations, each against a row of the background).
Mitchell, Cooper, Frank and Holmes, Sampling permutations for Shapley value estimation, JMLR 23, 2022 (antithetic
pairs).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Masks = npt.NDArray[np.bool_]

Mixed = Callable[[Masks, npt.NDArray[np.int64]], Floats]
"""From masks (Z, D) and places (Z,) to the output (Z,) of the row where the mask is true, and of the row at that place
of those to compare with where it is not."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """What each column contributes; ``baseline + contributions.sum() + rest`` is the row's output.

    Attributes
    ----------
    contributions
        Shape (D,).
    errors
        Standard error of each, shape (D,); ``None`` where the method has none.
    permutations
        How many were drawn; ``None`` where none were.
    """

    baseline: float
    contributions: Floats
    rest: float = 0.0
    errors: Floats | None = None
    permutations: int | None = None


def by_replacement(mixed: Mixed, output: float, columns: int) -> Attribution:
    """Let each column come first into the other row and go last out of this one, and average; 2 D + 1 mixtures.

    Where no more than two columns act together these are Shapley values: the first is a column's own effect, the second
    has all of what it does together with others, and half of that is its share. What is beyond that is the ``rest``.
    """
    alone = np.eye(columns, dtype=bool)
    masks = np.concatenate([np.zeros((1, columns), dtype=bool), alone, ~alone])
    answers = mixed(masks, np.zeros(len(masks), dtype=np.int64))
    baseline = float(answers[0])
    first, last = answers[1 : columns + 1] - baseline, output - answers[columns + 1 :]
    contributions = (first + last) / 2
    return Attribution(baseline, contributions, rest=output - baseline - float(contributions.sum()))


def exact_shapley(mixed: Mixed, columns: int, rows: int) -> Attribution:
    """Sum over all subsets of the columns; 2**D M mixtures."""
    subsets = np.arange(2**columns)
    masks = (subsets[:, None] >> np.arange(columns)) % 2 == 1  # (2**D, D)
    answers = mixed(np.repeat(masks, rows, axis=0), np.tile(np.arange(rows), len(masks)))
    worth = answers.reshape(len(masks), rows).mean(axis=1)
    # A subset of s columns comes before one other, and no more do, in s! (D - s - 1)! of the D! orders.
    share_of_size = np.array([1 / (columns * math.comb(columns - 1, size)) for size in range(columns)])
    contributions = np.empty(columns)
    for column in range(columns):
        without = subsets[~masks[:, column]]
        gained = worth[without + 2**column] - worth[without]
        contributions[column] = share_of_size[masks[without].sum(axis=1)] @ gained
    return Attribution(float(worth[0]), contributions, errors=np.zeros(columns))


def sampled_shapley(
    mixed: Mixed,
    output: float,
    differs_MD: Masks,
    *,
    seed: int,
    least_rounds: int,
    goes_on: Callable[[int], bool],
) -> Attribution:
    """Add the columns one by one, in orders drawn at random and their reverse; at most 2 M (D - 1) mixtures a round.

    Every round draws one order for each row to compare with, so the baseline does not depend on how many there are; and
    what an order shares out is exactly the difference between the output and that row's.

    Parameters
    ----------
    differs_MD
        Which values of the row are other than those it is compared with: only these make another mixture. D is two or
        more.
    least_rounds
        At least two: the standard errors are of the differences between rounds.
    goes_on
        Told how many rounds are done, from ``least_rounds`` on: whether there is to be another.
    """
    rng = np.random.default_rng(seed)
    rows, columns = differs_MD.shape
    order, steps = np.arange(rows), np.arange(1, columns)
    starts_M = mixed(np.zeros((rows, columns), dtype=bool), order)
    rounds: list[Floats] = []
    while len(rounds) < least_rounds or goes_on(len(rounds)):
        entering_MD = rng.permuted(np.tile(np.arange(columns), (rows, 1)), axis=1)
        entering_2MD = np.stack([entering_MD, entering_MD[:, ::-1]])
        ranks_2MD = np.argsort(entering_2MD, axis=2)  # when each column comes in
        masks = ranks_2MD[:, :, None, :] < steps[:, None]  # (2, M, D - 1, D)
        places = np.broadcast_to(order[:, None], masks.shape[:-1])
        changes = differs_MD[places, entering_2MD[..., :-1]]
        path = np.empty((2, rows, columns + 1))
        path[..., 0] = starts_M
        path[..., 1:-1][changes] = mixed(masks[changes], places[changes])
        # Where nothing changes, the answer is that of the step before.
        latest = np.maximum.accumulate(np.where(changes, steps, 0), axis=2)
        path[..., 1:-1] = np.take_along_axis(path, latest, axis=2)
        path[..., -1] = output
        rounds.append(np.take_along_axis(np.diff(path), ranks_2MD, axis=2).mean(axis=0))
    drawn_RMD = np.stack(rounds)
    # All rows are in every round, so that chance is only in the orders within each of them.
    errors = np.sqrt(drawn_RMD.var(axis=0, ddof=1).sum(axis=0) / len(rounds)) / rows
    return Attribution(
        float(starts_M.mean()), drawn_RMD.mean(axis=(0, 1)), errors=errors, permutations=2 * rows * len(rounds)
    )
