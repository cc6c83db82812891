"""What a comparison of methods comes to, with its doubts: structure, agreement, reasons."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score

from whycluster.contract.explanation import Explanation
from whycluster.contract.wording import short
from whycluster.metrics import silhouette
from whycluster.table.encoder import TableEncoder
from whycluster.table.methods import Clustering

SILHOUETTE_BANDS = (
    (0.25, "no substantial structure"),
    (0.50, "weak structure"),
    (0.70, "reasonable structure"),
    (1.01, "strong structure"),
)
WEAK = 0.5  # mean silhouette up to which a clustering is doubted
UNSTABLE = 0.6  # agreement of seeds (adjusted Rand index) below which a clustering is doubted
SMALL = 0.02  # share of the rows below which a cluster may be a handful of outliers
FEW = 10  # rows per cluster below which any grouping looks clear
SURE = 0.9  # mean confidence that is worth a word where seeds disagree
SAME = 0.98  # share of a cluster that has one value, and of the value that is in the cluster
_MAY_TELL = ("free text", "nearly empty", "no single values")


def structure(silhouette: float) -> str:
    """Put a mean silhouette into words, in the bands of Kaufman and Rousseeuw (1990), ch. 2."""
    return next((words for limit, words in SILHOUETTE_BANDS if silhouette <= limit), "undefined")


def summarise(found: Mapping[str, Clustering], X) -> pd.DataFrame:
    """Describe each clustering in a row, without labels.

    Parameters
    ----------
    found : mapping of str to Clustering
    X : DataFrame of shape (n_samples, n_features)
        The rows that were clustered.

    Returns
    -------
    DataFrame of shape (n_methods, 5)
        clusters found; rows in the smallest; mean silhouette in [-1, 1]; agreement of the seeds and
        agreement with the first method, both adjusted Rand indices: 1 the same clusters, 0 what
        chance would give. NaN where there is one seed, or one cluster.
    """
    first = next(iter(found.values())).labels[0]
    rows = {}
    for name, clustering in found.items():
        labels = clustering.labels[0]
        sizes = np.bincount(labels)[np.unique(labels)]
        rows[name] = {
            "clusters found": len(sizes),
            "smallest": int(sizes.min()),
            "silhouette": seed_silhouettes(clustering, X)[0],
            "seeds agree": _seed_agreement(clustering.labels),
            "agrees with the first": adjusted_rand_score(first, labels),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def seed_silhouettes(clustering: Clustering, X) -> list[float]:
    """Return the mean silhouette of each seed's clusters, NaN where all rows are in one."""
    is_scored = [1 < len(np.unique(labels)) < len(labels) for labels in clustering.labels]
    pairs = zip(clustering.labels, is_scored, strict=True)
    return [silhouette(X, labels) if scored else np.nan for labels, scored in pairs]


def caveats(
    summary: pd.DataFrame,
    n_clusters: int,
    n_samples: int,
    *,
    found: Mapping[str, Clustering] | None = None,
    X: pd.DataFrame | None = None,
    encoder: TableEncoder | None = None,
) -> list[str]:
    """Say what speaks against trusting each clustering, one sentence per doubt.

    Parameters
    ----------
    summary : DataFrame
        From `summarise`.
    n_clusters : int
        What was asked for.
    n_samples : int
    found : mapping of str to Clustering, optional
        With `X`: confidence where seeds disagree, and clusters that are one value of one column.
    X : DataFrame of shape (n_samples, n_features), optional
        The rows that were clustered.
    encoder : TableEncoder, optional
        That made `X`: columns that were left out.

    Returns
    -------
    list of str
        Empty if there is nothing to say.
    """
    doubts = _doubts_of_table(n_clusters, n_samples, X) + _doubts_of_columns(encoder)
    for name, row in summary.iterrows():
        clustering = found[name] if found is not None and X is not None else None
        doubts += _doubts_of_method(name, row, n_clusters, n_samples)
        doubts += _doubts_of_seeds(name, row, clustering, X)
        doubts += _doubts_of_values(name, clustering, X)
    return doubts + _doubts_of_agreement(summary)


def _doubts_of_table(n_clusters, n_samples, X):
    doubts = []
    if n_samples < FEW * n_clusters:
        doubts.append(
            f"{n_samples} rows are few for {n_clusters} clusters: any grouping of so few looks "
            "clear, and its silhouette says little."
        )
    if X is not None and X.shape[1] > n_samples:
        doubts.append(
            f"{X.shape[1]} features are more than {n_samples} rows: some of them will seem to tell "
            "the clusters apart by chance. Drop columns that do not matter."
        )
    return doubts


def _doubts_of_columns(encoder):
    if encoder is None:
        return []
    doubts = []
    if len(encoder.used_) == 1 and len(encoder.columns_) > 1:
        doubts.append(f"The clusters rest on one column, {short(encoder.used_[0])!r}, alone.")
    columns = encoder.columns_.values()
    gone = [c for c in columns if c.type in _MAY_TELL or (c.doubts and not c.features)]
    if gone:
        names = ", ".join(f"{short(column.name, 30)!r} ({column.type})" for column in gone)
        doubts.append(f"Left out, although it may tell something: {short(names, 300)}.")
    return doubts


def _doubts_of_method(name, row, n_clusters, n_samples):
    doubts = []
    if row["clusters found"] < n_clusters:
        doubts.append(f"{name} filled only {row['clusters found']:.0f} of {n_clusters} clusters.")
    if not row["silhouette"] > WEAK:
        doubts.append(
            f"{name}: {structure(row['silhouette'])}. Its mean silhouette of "
            f"{row['silhouette']:.2f} is not above {WEAK}: many rows lie between clusters."
        )
    if row["smallest"] == 1:
        doubts.append(f"{name}: one cluster is a single row: an outlier?")
    elif row["smallest"] < SMALL * n_samples:
        doubts.append(f"{name}: one cluster holds only {row['smallest']:.0f} rows: outliers?")
    return doubts


def _doubts_of_seeds(name, row, clustering, X):
    if not row["seeds agree"] < UNSTABLE:
        return []
    sure = 0.0 if clustering is None else float(clustering.confidence(X).mean())
    despite = f" Its mean confidence of {sure:.2f} does not know that." if sure > SURE else ""
    return [
        f"{name}: another seed gives other clusters (agreement {row['seeds agree']:.2f}, "
        f"below {UNSTABLE}); do not build on single rows.{despite}"
    ]


def _doubts_of_values(name, clustering, X):
    """Say which clusters are the rows with one value of one column."""
    if clustering is None:
        return []
    labels, doubts, seen = clustering.labels[0], [], set()
    for cluster in np.unique(labels):
        feature = _one_value(X, labels == cluster)
        if feature is not None and feature not in seen:
            seen.add(feature)
            doubts.append(
                f"{name}: cluster {cluster} is no more than one value of {short(feature)!r}; a "
                "code, or a column that had better be dropped?"
            )
    return doubts


def _one_value(X, is_in):
    """Return the feature of which one value is the cluster, None if there is none."""
    values = X.to_numpy()
    middle = np.quantile(values[is_in], 0.5, axis=0, method="lower")  # the value, if there is one
    has = values == middle
    is_same = (has[is_in].mean(axis=0) >= SAME) & (is_in.sum() >= SAME * has.sum(axis=0))
    return X.columns[is_same.argmax()] if is_same.any() and is_in.sum() > 1 else None


def _doubts_of_agreement(summary):
    """Say which methods find other clusters than the first."""
    if "agrees with the first" not in summary:
        return []
    agreement = summary["agrees with the first"].iloc[1:]
    others = [f"{name} ({value:.2f})" for name, value in agreement.items() if value < UNSTABLE]
    if not others:
        return []
    return [
        f"{', '.join(others)}: other clusters than those of {summary.index[0]} (agreement below "
        f"{UNSTABLE}); what only one method sees may be its own doing."
    ]


def explanation_table(found: Mapping[str, Clustering], source, rows, numbers) -> pd.DataFrame:
    """Write the explanations of all methods as one tidy table.

    Parameters
    ----------
    found : mapping of str to Clustering
    source : sequence of str, length n_features
        The column that each feature was made from: `TableEncoder.source_`.
    rows : sequence of int
        Positions of the rows to include.
    numbers : array-like of int, shape (n_samples,)
        What to call each row that was clustered.

    Returns
    -------
    DataFrame
        method, level ("overall", "cluster", "row"), which (the number of the cluster or row; none
        for overall), feature, source column, value. No rows of a method that explains none.
    """
    called = np.asarray(numbers)[rows]
    parts = []
    for name, clustering in found.items():
        why = clustering.explanation
        parts += [
            _tidy(name, "overall", why.overall[None], [None], why.feature_names, source),
            _tidy(name, "cluster", why.cluster, range(why.n_clusters), why.feature_names, source),
        ]
        if why.sample is not None:
            parts.append(_tidy(name, "row", why.sample[rows], called, why.feature_names, source))
    return pd.concat(parts, ignore_index=True).astype({"which": "Int64"})


def telling_rows(clustering: Clustering, other: Clustering, X) -> dict[str, int]:
    """Pick rows worth explaining.

    Parameters
    ----------
    clustering, other : Clustering
        Of the same rows.
    X : DataFrame of shape (n_samples, n_features)
        These rows.

    Returns
    -------
    dict of str to int
        Position of the clearest row, of the most doubtful one, and of the clearest among those
        that the other method puts elsewhere, if there are any.
    """
    sure = clustering.confidence(X)
    rows = {"clearest": int(sure.argmax()), "most doubtful": int(sure.argmin())}
    is_disputed = clustering.labels[0] != other.labels[0]
    if is_disputed.any():
        rows["clearest in dispute"] = int(np.where(is_disputed, sure, -np.inf).argmax())
    return rows


def reasons(why: Explanation, table: pd.DataFrame, profile: pd.DataFrame, row: int, k: int = 4):
    """Put the explanation of one row beside its values.

    Parameters
    ----------
    why : Explanation
        By column of the table: `TableEncoder.group_by_source` of a `Clustering.explanation`.
    table : DataFrame of shape (n_rows, n_columns)
    profile : DataFrame
        From `TableEncoder.profile`, or one column of it.
    row : int
        Position in both.
    k : int, at least 1
        Number of columns to give, those of largest absolute value.

    Returns
    -------
    DataFrame of shape (k, 2 + n_columns of `profile`)
        By column of the table: this row's value, the profile, the explanation.

    Raises
    ------
    ValueError
        If the method explains no single rows.
    """
    if why.sample is None:
        raise ValueError("the explanation has no rows; take one of a method that explains rows")
    values = pd.Series(why.sample[row], index=why.feature_names, name=why.kind)
    top = values.sort_values(key=np.abs, ascending=False, kind="stable").head(k)
    here = table.iloc[row][top.index].rename("this row")
    return pd.concat([here, profile.loc[top.index], top], axis=1).rename_axis("column")


def _seed_agreement(labels) -> float:
    """Mean adjusted Rand index over pairs of seeds, NaN for one seed."""
    pairs = [adjusted_rand_score(a, b) for a, b in combinations(labels, 2)]
    return float(np.mean(pairs)) if pairs else np.nan


def _tidy(name, level, values, which, features, source):
    n_rows, n_features = values.shape
    return pd.DataFrame(
        {
            "method": name,
            "level": level,
            "which": np.repeat(np.array(which, dtype=object), n_features),
            "feature": np.tile(np.array(features, dtype=object), n_rows),
            "source column": np.tile(np.array(source, dtype=object), n_rows),
            "value": values.ravel(),
        }
    )
