"""What each column adds to any output, by SHAP over columns whatever features they became."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from whycluster.contract.attribution import _seeded


def shap_of_columns(
    predict: Callable,
    X: pd.DataFrame,
    background: pd.DataFrame,
    source: Sequence[str],
    *,
    n_permutations: int = 10,
    random_state: int = 0,
) -> tuple[np.ndarray, float]:
    """SHAP values of an output, by the permutation explainer, for the columns features stem from.

    The features that encode one column are replaced together, as a background row has them, so
    that no row ever has two categories or none.

    Parameters
    ----------
    predict : callable
        From a DataFrame like `X` to one number per row, such as a logit.
    X, background : DataFrame of shape (n_rows, n_features), (n_background, n_features)
        Encoded rows to explain, and those that stand in for missing columns.
    source : sequence of str of length n_features
        The column of each feature; features of one column are neighbours.
    n_permutations : int, at least 1, default=10
        Orders of the columns tried per row, each forwards and backwards.
    random_state : int, default=0

    Returns
    -------
    values : ndarray of shape (n_rows, n_columns)
        In the order in which columns first appear in `source`.
    base : float
        Mean output of the background.

    Raises
    ------
    ArithmeticError
        If values and base do not add up to the output of a row.
    """
    import shap  # here, since it takes seconds to import

    columns = list(dict.fromkeys(source))
    place = np.array([columns.index(name) for name in source])
    cells = np.concatenate([background.to_numpy(), X.to_numpy()])
    # A cell is coded by the number of the row that it is taken from.
    codes = np.repeat(np.arange(len(cells))[:, None], len(columns), axis=1)

    def decoded(rows):
        taken = cells[np.asarray(rows, dtype=int)[:, place], np.arange(len(source))]
        return np.asarray(predict(pd.DataFrame(taken, columns=X.columns)), dtype=float)

    n_background = len(background)
    masker = shap.maskers.Independent(codes[:n_background], max_samples=n_background)
    n_evaluations = n_permutations * (2 * len(columns) + 1)
    with _seeded(np.random.default_rng(random_state)):
        explainer = shap.PermutationExplainer(decoded, masker, seed=random_state)
        values = explainer(codes[n_background:], max_evals=n_evaluations, silent=True).values
    base = float(decoded(codes[:n_background]).mean())
    gap = np.abs(values.sum(axis=1) + base - decoded(codes[n_background:]))
    if gap.max() > 1e-3 * (1 + np.abs(values).sum(axis=1).max()):
        raise ArithmeticError(f"SHAP values miss the output by {gap.max():.2g}; they must add up")
    return values, base
