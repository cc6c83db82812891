"""Checkpoints: a finished phase is used again if, and only if, it would come out the same."""

import os
import shutil

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator

from whycluster import IDC
from whycluster.contract.settings import Declared, setting
from whycluster.training import checkpoint
from whycluster.training.checkpoint import Checkpoint, digest, reading, sources_of, syntax
from whycluster.training.layers import StackedMLP
from whycluster.training.losses import reconstruction_error
from whycluster.training.phases import Phase, Phases, adam
from whycluster.training.streams import Streams

SEEDS = [0, 1, 2]
WIDTHS = [5, 8, 6, 5]


class Toy(Declared, BaseEstimator):
    noise: float = setting(0.1)
    rate: float = setting(0.01)
    batch_size: int = setting(6)
    checkpoint: object = setting(None)


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


class ToyPhases(Phases):
    """Two phases of which the first adds noise."""

    def __init__(self, *args):
        super().__init__(*args)
        self.ran, self.fail_in = [], None

    def first(self, n_epochs, tick):
        return self.fit("first", n_epochs, tick, self.settings.noise)

    def second(self, n_epochs, tick):
        return self.fit("second", n_epochs, tick, 0.0)

    def fit(self, name, n_epochs, tick, noise):
        if name == self.fail_in:
            raise Killed
        self.ran.append(name)

        def step(rows, _progress):
            x = self.data[rows] + noise * self.streams.normal(rows.shape[1], 5)
            return {"error": reconstruction_error(self.network(x), self.data[rows])}

        optimizer = adam(self.network, lr=self.settings.rate)
        return self.train(self.network, step, optimizer, n_epochs, tick)


@pytest.fixture
def data():
    return torch.randn(23, 5, generator=torch.Generator().manual_seed(0))


def run(folder, data, *, fail_in=None, n_epochs=2, seeds=SEEDS, widths=WIDTHS, **settings):
    """Train in two phases with a checkpoint; return weights, losses and the phases that ran."""
    streams = Streams(seeds)
    network = StackedMLP(widths, streams)
    reader = reading(Toy(**settings))
    phases = ToyPhases(reader, network, data, streams)
    phases.fail_in = fail_in
    keep = Checkpoint(folder, Toy, data.numpy())
    rows = [Phase("first", 2, phases.first), Phase("second", n_epochs, phases.second)]
    history = [keep.phase(row, network, streams, reader) for row in rows]
    return network.state_dict(), [h["error"] for h in history], phases.ran


def assert_same(result, expected):
    weights, losses, _ = result
    assert all(torch.equal(weights[name], expected[0][name]) for name in expected[0])
    np.testing.assert_array_equal(losses, expected[1])


class TestCheckpoint:
    @pytest.fixture
    def expected(self, data):
        return run(None, data)

    def test_resuming_after_a_phase_equals_an_uninterrupted_run(self, tmp_path, data, expected):
        with pytest.raises(Killed):
            run(tmp_path, data, fail_in="second")
        resumed = run(tmp_path, data)
        assert resumed[2] == ["second"]
        assert_same(resumed, expected)
        again = run(tmp_path, data)
        assert again[2] == []
        assert_same(again, expected)

    def test_without_a_folder_nothing_is_written(self, tmp_path, data, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert run(None, data)[2] == ["first", "second"]
        assert list(tmp_path.iterdir()) == []

    def test_killed_while_writing_leaves_no_checkpoint(self, tmp_path, data, expected, monkeypatch):
        def killed(*_):
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", killed)
            with pytest.raises(Killed):
                run(tmp_path, data)
        assert list(tmp_path.iterdir()) == []
        assert_same(run(tmp_path, data), expected)

    @pytest.mark.parametrize("keep", [0, 7, 100, -1], ids=["empty", "header", "part", "last byte"])
    def test_damaged_checkpoint_is_named_and_not_used(self, tmp_path, data, expected, keep):
        run(tmp_path, data)
        (path,) = tmp_path.glob("second-*")
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.warns(UserWarning, match=r"second-.* is damaged .* this phase runs again"):
            resumed = run(tmp_path, data)
        assert resumed[2] == ["second"]
        assert_same(resumed, expected)

    def test_a_setting_binds_the_phases_that_read_it(self, tmp_path, data):
        run(tmp_path, data)
        assert run(tmp_path, data, rate=0.02)[2] == ["first", "second"]
        assert run(tmp_path, data, noise=0.2)[2] == [
            "first",
            "second",
        ]  # the second goes on from it
        assert run(tmp_path, data, checkpoint="elsewhere")[2] == []
        assert len(list(tmp_path.iterdir())) == 6  # both are kept, for each of three settings

    def test_a_phase_is_bound_by_what_comes_before_it_and_not_by_what_comes_after(
        self, tmp_path, data
    ):
        run(tmp_path, data)
        assert run(tmp_path, data, n_epochs=3)[2] == ["second"]

    @pytest.mark.parametrize(
        "change", [{"seeds": [0, 1, 3]}, {"widths": [5, 8, 7, 5]}], ids=["seed", "width"]
    )
    def test_checkpoint_of_another_start_is_not_used(self, tmp_path, data, change):
        run(tmp_path, data)
        assert run(tmp_path, data, **change)[2] == ["first", "second"]

    def test_checkpoint_of_other_data_is_not_used(self, tmp_path, data):
        run(tmp_path, data)
        assert run(tmp_path, data.flip(0))[2] == ["first", "second"]

    def test_checkpoint_of_another_kind_of_device_is_not_used(
        self, tmp_path, data, expected, monkeypatch
    ):
        with monkeypatch.context() as patch:  # a CUDA generator has a state of 16 bytes
            patch.setattr(Streams, "state", lambda self: torch.zeros(len(self), 16).byte())
            run(tmp_path, data)
        resumed = run(tmp_path, data)
        assert resumed[2] == ["first", "second"]
        assert_same(resumed, expected)

    def test_seconds_are_those_of_the_run_that_trained(self, tmp_path):
        keep, streams = Checkpoint(tmp_path, Toy, None), Streams(SEEDS)
        network, reader = StackedMLP(WIDTHS, streams), reading(Toy())
        phase = Phase("only", 1, lambda n_epochs, tick: {})
        first = keep.phase(phase, network, streams, reader)["seconds"]
        assert first.shape == (3,)
        assert first[0] > 0
        restored = keep.phase(phase, network, streams, reader)["seconds"]
        np.testing.assert_array_equal(restored, first)


class TestSources:
    """A checkpoint depends on the code that trains, not on its words."""

    @pytest.fixture
    def library(self, tmp_path, monkeypatch):
        """A copy of the rooms whose sources count for IDC, which can be edited."""
        for room in ("idc", "training", "gower"):
            shutil.copytree(checkpoint.LIBRARY / room, tmp_path / room)
        monkeypatch.setattr(checkpoint, "LIBRARY", tmp_path)
        return tmp_path

    def hash_after(self, path, old, new):
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        checkpoint._hash_of_folders.cache_clear()
        return sources_of(IDC)

    @pytest.fixture(autouse=True)
    def _fresh(self):
        checkpoint._hash_of_folders.cache_clear()
        yield
        checkpoint._hash_of_folders.cache_clear()

    def test_an_edit_of_a_docstring_or_a_comment_keeps_a_finished_phase(self, library):
        before = sources_of(IDC)
        path = library / "idc" / "phases.py"
        assert self.hash_after(path, "Reconstruct with all gates open", "Open all gates") == before
        assert self.hash_after(path, "class IDCPhases", "# the phases\nclass IDCPhases") == before

    @pytest.mark.parametrize(
        ("file", "old", "new"),
        [
            ("idc/phases.py", "cosine(1e-3)", "cosine(1e-4)"),
            ("idc/network.py", "0.01 * late", "0.02 * late"),
            ("training/losses.py", "    return ", "    return 2 * "),
            ("training/loop.py", "0.5 * (1 +", "0.4 * (1 +"),
        ],
    )
    def test_an_edit_of_the_code_discards_it(self, library, file, old, new):
        before = sources_of(IDC)
        assert self.hash_after(library / file, old, new) != before

    def test_an_edit_of_another_method_keeps_it(self, library):
        before = sources_of(IDC)
        path = library / "gower" / "partition.py"
        assert self.hash_after(path, "return", "return 2 *") == before

    def test_discarded_means_run_again(self, tmp_path, data, monkeypatch):
        run(tmp_path, data)
        monkeypatch.setattr(checkpoint, "sources_of", lambda cls: "edited")
        assert run(tmp_path, data)[2] == ["first", "second"]

    def test_a_text_that_is_no_docstring_counts(self):
        assert syntax('f("a")') != syntax('f("b")')
        assert syntax('def f():\n    "a"\n    g()') == syntax('def f():\n    "b"\n    g()')


class TestDigest:
    X = np.arange(6, dtype=np.float32).reshape(2, 3)

    def test_is_stable(self):
        assert digest(({"a": 1}, self.X)) == digest(({"a": 1}, self.X.copy()))

    @pytest.mark.parametrize(
        "other",
        [
            ({"a": 2}, X),
            ({"a": 1}, X + 1),
            ({"a": 1}, X.reshape(3, 2)),
            ({"a": 1}, X.astype(float)),
            ({"a": "1"}, X),
            ({"a": 1}, [X]),
        ],
        ids=["value", "entries", "shape", "type of entries", "type of value", "nesting"],
    )
    def test_changes_with(self, other):
        assert digest(other) != digest(({"a": 1}, self.X))
