"""Settings declared once: signature, checks and manual agree with the class body."""

import inspect
from typing import Annotated, Literal

import pytest
from sklearn.base import BaseEstimator, clone

from whycluster.contract.settings import (
    Count,
    Declared,
    Positive,
    RandomState,
    Widths,
    at_least,
    between,
    fitting,
    setting,
)


class Base(Declared, BaseEstimator):
    """Has what all have.

    Attributes
    ----------
    labels_ : ndarray
    """

    random_state: RandomState = setting(None)


class Toy(Base):
    """Finds toys.

    Notes
    -----
    Few.
    """

    n_clusters: Count = setting(8, "Clusters.", positional=True)
    noise: Positive | None = setting(
        0.5,
        """Of two
        lines.""",
    )
    start: Literal["far", "near"] = setting("far")
    share: Annotated[float, between(0, 1, "left")] = setting(0.0)
    rows: Annotated[int, at_least(3)] = setting(16)
    is_quiet: bool = setting(True)
    widths: Widths = setting((3, 4))


class Narrower(Toy):
    """Finds fewer."""

    start: Literal["near"] = setting("near", "Always.")


def test_the_signature_is_that_of_scikit_learn():
    expected = "(n_clusters=8, *, random_state=None, noise=0.5, start='far', share=0.0, rows=16, "
    assert str(inspect.signature(Toy)) == expected + "is_quiet=True, widths=(3, 4))"


def test_params_clone_and_repr():
    toy = Toy(3, noise=None, widths=[1])
    assert clone(toy).get_params() == toy.get_params() | {"widths": [1]}
    assert repr(toy) == "Toy(n_clusters=3, noise=None, widths=[1])"
    assert Toy().set_params(start="near").start == "near"
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        Toy(colour=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_clusters": 0}, "'n_clusters' parameter of Toy must be an int in the range"),
        ({"noise": 0.0}, r"'noise' parameter of Toy must be a float in the range \(0.0, inf\)"),
        ({"start": "off"}, "'start' parameter of Toy must be a str among"),
        ({"share": 1.0}, r"'share' parameter of Toy must be a float in the range \[0.0, 1.0\)"),
        ({"rows": 2}, r"'rows' parameter of Toy must be an int in the range \[3, inf\)"),
        ({"is_quiet": "no"}, "'is_quiet' parameter of Toy must be an instance of 'bool'"),
        ({"widths": 3}, "'widths' parameter of Toy must be an array-like"),
    ],
)
def test_what_is_out_of_range_is_named(settings, message):
    Toy()._validate_params()
    with pytest.raises(ValueError, match=message):
        Toy(**settings)._validate_params()


def test_the_manual_has_every_setting_its_range_and_its_default():
    manual = inspect.getdoc(Toy)
    assert manual.index("Finds toys.") < manual.index("Parameters") < manual.index("Notes")
    for line in [
        "n_clusters : int of at least 1, default=8\n    Clusters.",
        "noise : float above 0 or None, default=0.5\n    Of two lines.",
        'start : {"far", "near"}, default="far"',
        "share : float in [0, 1), default=0.0",
        "widths : sequence of int, default=(3, 4)",
        "random_state : int, RandomState or None, default=None",
    ]:
        assert line in manual
    assert manual.index("widths :") < manual.index("random_state :")


def test_attributes_of_a_base_are_those_of_its_children():
    assert "Attributes\n----------\nlabels_ : ndarray\n\nNotes" in inspect.getdoc(Toy)


def test_a_setting_can_be_declared_anew():
    assert Narrower().start == "near"
    assert 'start : {"near"}, default="near"\n    Always.' in inspect.getdoc(Narrower)
    with pytest.raises(ValueError, match="'start' parameter of Narrower"):
        Narrower(start="far")._validate_params()


class TestFitting:
    def test_what_was_learnt_arrives_at_once(self):
        toy = Toy()
        with fitting(toy) as twin:
            twin.labels_ = [0]
            assert not hasattr(toy, "labels_")
        assert toy.labels_ == [0]

    def test_an_error_leaves_all_as_it_was(self):
        toy = Toy()
        toy.labels_, toy.old_ = [1], 2
        whole = fitting(toy)
        twin = whole.__enter__()
        assert not hasattr(twin, "labels_")
        twin.labels_ = [0]
        assert not whole.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
        assert (toy.labels_, toy.old_) == ([1], 2)

    def test_settings_are_the_same_objects(self):
        toy = Toy(widths=[1, 2])
        with fitting(toy) as twin:
            assert twin.widths is toy.widths
