"""One column of a user's table: what its values are, and the numbers they become.

`study` looks at the values of a column once and returns a `Column`: what it is, what was done with
it and why, how new values are encoded the same way, and how any group of rows reads in the column's
own units. `whycluster.table.TableEncoder` puts the columns of a table together.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from whycluster.contract.wording import as_text, short
from whycluster.table.forms import DateForm, NumberForm, RankForm

MISSING = "(missing)"
OTHER = "(other)"
LEFT_OUT = (
    "dropped",
    "identifier",
    "free text",
    "constant",
    "all missing",
    "nearly empty",
    "no single values",
)


# --- columns ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column that was looked at; on its own, one that is left out.

    Parameters
    ----------
    name, type : str
        `type` is number, ordered, date, yes/no, category, or one of `LEFT_OUT`.
    missing : float in [0, 1]
        Share of the rows without a value.
    distinct : int
        Number of different values.
    done : str
        What was done with it, and why.
    features : tuple of str
        Names of the features made from it; none if it is left out.
    doubts : tuple of str
        What was guessed and could be wrong, each with the option that overrules it.
    """

    name: str
    type: str
    missing: float
    distinct: int
    done: str
    features: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    def as_row(self) -> dict:
        """Return the column's row of the report."""
        return {
            "column": self.name,
            "type": self.type,
            "missing %": round(100 * self.missing, 1),
            "distinct": self.distinct,
            "features": len(self.features),
            "what was done": self.done,
        }


@dataclass(frozen=True, kw_only=True)
class NumberColumn(Column):
    """A column whose values are amounts or ranks, with what turns them into features.

    Parameters
    ----------
    form : NumberForm, DateForm or RankForm
    fill, centre, spread : float
        What a missing value becomes, what is subtracted, by what is divided.
    limit : float, optional
        How far from 0 a feature may be; what lies beyond is put there.
    """

    form: NumberForm | DateForm | RankForm
    fill: float
    centre: float
    spread: float
    limit: float | None = None

    def encode(self, values: pd.Series) -> tuple[np.ndarray, str]:
        """Return features (n_rows, n_features), and a note on what `fit` did not see."""
        numbers = self.form(values)
        is_missing = np.isnan(numbers)
        scaled = (np.where(is_missing, self.fill, numbers) - self.centre) / self.spread
        block = [scaled if self.limit is None else np.clip(scaled, -self.limit, self.limit)]
        if len(self.features) == 2:
            block.append(is_missing.astype(float))
        return np.column_stack(block), "; ".join(self._notes(values, is_missing))

    def _notes(self, values, is_missing):
        """Return what to say about rows to encode: new gaps, and text that could not be read."""
        if getattr(self.form, "is_lenient", False):
            odd = is_missing & values.notna().to_numpy() & ~self.form.is_code(values)
            if odd.any():
                yield f"{odd.sum()} not understood ({short(values[odd].iloc[0], 30)!r}), filled in"
        if is_missing.any() and self.missing == 0:
            yield f"{is_missing.sum()} missing where none was when fitted, filled in"

    def say(self, bounds: list[tuple[int, float, float]]) -> str:
        """Put (place, low, high) of features into words: low < feature ≤ high."""
        here = {place: (low, high) for place, low, high in bounds}
        words = []
        if 0 in here:
            ends = (end * self.spread + self.centre for end in here[0])
            words.append(self.form.say(self.name, *ends))
        if 1 in here:
            words.append(f"{self.name} is {'given' if np.isinf(here[1][0]) else 'missing'}")
        return " and ".join(words)

    def summarise(self, values: pd.Series) -> str:
        """Return the median of the values, of a yes/no the share of yes."""
        numbers = self.form(values)
        if np.isnan(numbers).all():
            return MISSING
        if isinstance(self.form, RankForm) and self.type == "yes/no":
            return f"{self.form.levels[1]} {np.nanmean(numbers):.0%}"
        method: Any = "linear" if self.type == "number" else "inverted_cdf"
        return self.form.show(np.nanquantile(numbers, 0.5, method=method))


@dataclass(frozen=True, kw_only=True)
class CategoryColumn(Column):
    """A column of levels, one 0/1 feature each.

    Parameters
    ----------
    levels : tuple of str
        Levels with a feature of their own, in the order of `features`; `MISSING` and `OTHER` too.
    known : frozenset of str
        All levels seen.
    """

    levels: tuple[str, ...]
    known: frozenset[str]

    def encode(self, values: pd.Series) -> tuple[np.ndarray, str]:
        """Return features (n_rows, n_features), and a note on levels that `fit` did not see."""
        texts = level_texts(values)
        pooled = texts.where(texts.isin(self.levels), OTHER)
        block = np.column_stack([pooled == level for level in self.levels]).astype(float)
        unseen = texts[~texts.isin(self.known)]
        if unseen.empty:
            return block, ""
        fate = f"counted as {OTHER}" if OTHER in self.levels else "in none of its levels"
        return (
            block,
            f"{len(unseen)} never seen when fitted ({short(unseen.iloc[0], 30)!r}), {fate}",
        )

    def say(self, bounds: list[tuple[int, float, float]]) -> str:
        """Put (place, low, high) of features into words: low < feature ≤ high."""
        named = [self.levels[place] for place, low, _ in bounds if np.isfinite(low)]
        if named:
            return f"{self.name} = {named[0]}"
        return f"{self.name} ≠ {', '.join(self.levels[place] for place, _, _ in bounds)}"

    def summarise(self, values: pd.Series) -> str:
        """Return the most frequent level and its share."""
        shares = level_texts(values).value_counts(normalize=True)
        return f"{short(shares.index[0], 40)} {shares.iloc[0]:.0%}"


def to_plain(column: Column) -> dict:
    """Return a column as JSON can hold it."""
    plain = {"class": type(column).__name__} | vars(column)
    if isinstance(column, NumberColumn):
        plain["form"] = {"class": type(column.form).__name__} | vars(column.form)
    if isinstance(column, NumberColumn) and isinstance(column.form, DateForm):
        plain["form"]["origin"] = column.form.origin.isoformat()  # type: ignore[union-attr]
    if isinstance(column, CategoryColumn):
        plain["known"] = sorted(column.known)
    return plain


def from_plain(plain: dict) -> Any:
    """Return the column that `to_plain` described."""
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
    known = (Column, NumberColumn, CategoryColumn, NumberForm, DateForm, RankForm)
    cls: Any = {c.__name__: c for c in known}[fields.pop("class")]
    if "form" in fields:
        fields["form"] = from_plain(fields["form"])
    if "origin" in fields:
        fields["origin"] = pd.Timestamp(fields["origin"]).tz_localize(None)
    if "known" in fields:
        fields["known"] = frozenset(fields["known"])
    return cls(**fields)


def level_texts(values: pd.Series) -> pd.Series:
    """Return the level of each row as text, a missing value as `MISSING`."""
    return values.astype(object).map(as_text, "ignore").astype(object).fillna(MISSING)
