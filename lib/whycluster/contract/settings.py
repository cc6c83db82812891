"""Settings declared once: the body of an estimator's class is its signature, checks and manual.

A setting is an annotated name with a default and what it means. The annotation is the range:

    class Toy(Declared, BaseEstimator):
        n_clusters: Count = setting(8, "Clusters to find.", positional=True)
        noise: Positive = setting(0.5, "Standard deviations of the standardised feature.")
        start: Literal["far", "near"] = setting("far", "Where centres begin.")

makes ``Toy(n_clusters=8, *, noise=0.5, start="far")``, its constraints for scikit-learn's
`_validate_params`, and the section "Parameters" of its docstring. Settings of base classes are
inherited, and come after a class's own in the manual; so is the section "Attributes".
"""

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import Field, dataclass, field, fields
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from sklearn.utils._param_validation import Interval, StrOptions

_KINDS = {int: Integral, float: Real}


@dataclass(frozen=True)
class Range:
    """Numbers that a setting may be; `closed` as in scikit-learn's Interval."""

    low: float
    high: float | None
    closed: Literal["left", "right", "both", "neither"]

    def words(self) -> str:
        """Return the range for the manual: "of at least 1", "in [0, 1)"."""
        if self.high is None:
            return f"{'of at least' if self.closed == 'left' else 'above'} {self.low:g}"
        left = "[" if self.closed in ("left", "both") else "("
        right = "]" if self.closed in ("right", "both") else ")"
        return f"in {left}{self.low:g}, {self.high:g}{right}"


def at_least(low: float) -> Range:
    """Return the range from `low` on."""
    return Range(low, None, "left")


def above(low: float) -> Range:
    """Return the range above `low`."""
    return Range(low, None, "neither")


def between(low: float, high: float, closed="both") -> Range:
    """Return the range between two numbers."""
    return Range(low, high, closed)


Checked = Annotated[int, "int"]  # against the data, by the estimator
Count = Annotated[int, at_least(1)]
CountOrZero = Annotated[int, at_least(0)]
Positive = Annotated[float, above(0)]
NotNegative = Annotated[float, at_least(0)]
Share = Annotated[float, between(0, 1)]
Widths = Annotated[Any, "sequence of int", "array-like"]  # words, then what scikit-learn calls it
RandomState = Annotated[Any, "int, RandomState or None"]
Precision = Literal["highest", "high", "medium"]


def setting(default, meaning: str = "", *, positional: bool = False):
    """Declare a setting in the body of a `Declared` class.

    Parameters
    ----------
    default : object
        Nothing that can be changed in place.
    meaning : str
        For the manual; line breaks do not count.
    positional : bool, default=False
        Whether it can be given without its name.
    """
    metadata = {"meaning": " ".join(meaning.split())}
    return field(default=default, kw_only=not positional, metadata=metadata)


class Declared:
    """An object whose class body declares its settings; see the module."""

    if TYPE_CHECKING:

        def __init__(self, *args, **settings): ...

    def __init_subclass__(cls, **options):
        """Make constructor, constraints and manual from the annotations."""
        super().__init_subclass__(**options)
        dataclass(cls, repr=False, eq=False, kw_only=True)
        cls.__init__.__annotations__ = {}  # IDC? shows names and defaults
        hints = get_type_hints(cls, include_extras=True)
        own = {f.name: hints[f.name] for f in fields(cls)}
        checks = {name: _checks(hint) for name, hint in own.items()}
        cls._parameter_constraints = {name: found for name, found in checks.items() if found}
        if cls.__dict__.get("__doc__"):
            inherited = "" if "Attributes\n" in cls.__doc__ else _attributes(cls.__mro__[1:])
            cls.__doc__ = _with_manual(cls.__doc__, _manual(cls, own) + inherited)


@contextmanager
def fitting(estimator) -> Iterator[Any]:
    """Yield an unfitted twin to fit; the estimator takes over what it learnt when all went well.

    An error or an interruption in between leaves the estimator as it was, fitted or not.
    """
    twin = object.__new__(type(estimator))
    vars(twin).update({k: v for k, v in vars(estimator).items() if not k.endswith("_")})
    yield twin
    estimator.__dict__ = vars(twin)


def _parts(hint) -> Iterator[Any]:
    """Yield the alternatives of a union, or the hint itself."""
    yield from get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _checks(hint) -> list:
    """Return what scikit-learn checks a value against; an empty list: nothing."""
    found = []
    for part in _parts(hint):
        check = _check(part)
        if check is False:
            return []
        found.append(check)
    return found


def _check(part):
    """Return the constraint of one alternative, False if anything goes."""
    if part is NoneType:
        return None
    if part is bool:
        return "boolean"
    if get_origin(part) is Literal:
        return StrOptions(set(get_args(part)))
    if get_origin(part) is not Annotated:
        return part if inspect.isclass(part) and part is not Any and part is not str else False
    base, *notes = get_args(part)
    if isinstance(notes[0], Range):
        return Interval(_KINDS[base], notes[0].low, notes[0].high, closed=notes[0].closed)
    return notes[1] if len(notes) > 1 else False


def _words(hint) -> str:
    return " or ".join(_word(part) for part in _parts(hint))


def _word(part) -> str:
    """Return one alternative of a type for the manual."""
    if part is NoneType:
        return "None"
    if get_origin(part) is Literal:
        return "{" + ", ".join(f'"{option}"' for option in get_args(part)) + "}"
    if get_origin(part) is not Annotated:
        return part.__name__
    base, note, *_ = get_args(part)
    return note if isinstance(note, str) else f"{base.__name__} {note.words()}"


def _manual(cls, hints: dict) -> str:
    """Return the section "Parameters": a class's own settings first, then those of its bases."""
    by_name = {f.name: f for f in fields(cls)}
    owner = {n: next(i for i, c in enumerate(cls.__mro__) if _declares(c, n)) for n in by_name}
    is_named = {n: f.kw_only for n, f in by_name.items()}
    order = sorted(by_name, key=lambda n: (is_named[n], owner[n]))
    entries = [_entry(by_name[name], hints[name]) for name in order]
    return "\n".join(["Parameters", "----------", *entries])


def _declares(cls, name: str) -> bool:
    return name in inspect.get_annotations(cls)


def _entry(declared: Field, hint) -> str:
    default = f'"{declared.default}"' if isinstance(declared.default, str) else declared.default
    head = f"{declared.name} : {_words(hint)}, default={default}"
    meaning = declared.metadata.get("meaning", "")
    return f"{head}\n    {meaning}" if meaning else head


def _attributes(bases) -> str:
    """Return the section "Attributes" of the first base that has one."""
    for base in bases:
        text = inspect.cleandoc(base.__dict__.get("__doc__") or "")
        if found := re.search(r"^Attributes\n-+\n.*?(?=\n\n|\Z)", text, re.DOTALL | re.MULTILINE):
            return f"\n\n{found.group()}"
    return ""


def _with_manual(doc: str, manual: str) -> str:
    """Put the manual before the first section of a docstring."""
    text = inspect.cleandoc(doc)
    section = re.search(r"^\w[\w ]*\n-{3,}$", text, flags=re.MULTILINE)
    place = section.start() if section else len(text)
    return f"{text[:place].rstrip()}\n\n{manual}\n\n{text[place:]}".rstrip() + "\n"
