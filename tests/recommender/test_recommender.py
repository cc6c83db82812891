"""ClustRecNet: its networks, what it learns, what it recommends."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.metrics import adjusted_rand_score
from torch import nn

from whycluster import ClustRecNet
from whycluster.recommender import descriptors, pretrained, selection
from whycluster.recommender.algorithms import ALGORITHMS, NAMES
from whycluster.recommender.estimator import PUBLISHED, score
from whycluster.recommender.generation import DataSets
from whycluster.recommender.inputs import Descriptions, Images, images
from whycluster.recommender.labelling import wide
from whycluster.recommender.networks import NETWORKS, ImageNetwork, StackedAttention
from whycluster.recommender.pretrained import __main__ as making
from whycluster.training.streams import Streams

IMAGE_NETWORKS = [name for name in NETWORKS if name != "set"]


@pytest.fixture(scope="module")
def model():
    return ClustRecNet.pretrained()


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def labelled():
    """Return 60 small data sets of the training split and their scores."""
    settings, labels = pretrained.load("training")
    few = settings[settings["n_clusters"] * settings["cluster_size"] <= 250].iloc[:60]
    return DataSets(few), wide(labels).loc[few.index]


@pytest.fixture(scope="module")
def fitted(labelled):
    return ClustRecNet(n_folds=2, max_epochs=30, random_state=0, device="cpu").fit(*labelled)


def shuffled(X, seed):
    random = np.random.default_rng(seed)
    return X[random.permutation(len(X))][:, random.permutation(X.shape[1])]


class TestDescriptors:
    def test_are_equal_to_the_last_bit_for_shuffled_tables(self, iris):
        rows, whole = descriptors.describe(descriptors.sample(iris[0]))
        for seed in range(3):
            again = descriptors.describe(descriptors.sample(shuffled(iris[0], seed)))
            np.testing.assert_array_equal(again[0], rows)
            np.testing.assert_array_equal(again[1], whole)

    @pytest.mark.parametrize("shape", [(10, 1), (30, 2), (700, 5), (60, 80)])
    def test_have_one_size_for_every_table(self, shape):
        table = descriptors.sample(np.random.default_rng(0).standard_normal(shape))
        rows, whole = descriptors.describe(table)
        assert rows.shape == (descriptors.N_SHOWN, descriptors.N_ROW)
        assert whole.shape == (descriptors.N_WHOLE,)
        assert np.isfinite(rows).all()
        assert np.isfinite(whole).all()

    def test_forget_scale_and_place(self, iris):
        X = iris[0]
        first, second = (descriptors.describe(descriptors.sample(T))[1] for T in (X, 8 * X - 3))
        np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-3)

    def test_repeated_rows_are_no_obstacle(self):
        X = np.repeat(np.random.default_rng(0).standard_normal((3, 4)), 20, axis=0)
        assert np.isfinite(descriptors.describe(descriptors.sample(X))[1]).all()

    def test_large_tables_are_reduced_and_it_is_said(self):
        X = np.random.default_rng(0).standard_normal((3000, 61))
        X[:, 4] = 2.0
        table = descriptors.sample(X)
        assert table.Z.shape == (2000, 50)
        assert str(table) == (
            "2000 of 3000 rows, 1 constant columns left out, 50 principal components of 60 columns"
        )

    def test_the_heights_of_dendrograms_tell_how_many_clusters_there_are(self):
        centres = 50 * np.random.default_rng(1).standard_normal((4, 6))
        X = np.repeat(centres, 40, axis=0) + np.random.default_rng(2).standard_normal((160, 6))
        distances = descriptors.describe(descriptors.sample(X))[1][-4 * 16 :].reshape(4, 16)
        assert (np.diff(distances, axis=1).argmin(axis=1) == 2).all()  # three merges stand out


class TestImageNetworks:
    @pytest.mark.parametrize("name", IMAGE_NETWORKS)
    def test_give_a_logit_per_algorithm(self, name):
        network = NETWORKS[name](10, Streams([0]))
        with torch.no_grad():
            assert network.eval()(torch.zeros(1, 1, 2000, 50)).shape == (1, 1, 10)

    def test_a_stack_is_its_models(self):
        together = NETWORKS["cnn-residual-attention"](10, Streams([3, 4])).eval()
        x = torch.randn(2, 2, 2000, 50)
        with torch.no_grad():
            both = together(x)
            for i, seed in enumerate([3, 4]):
                alone = NETWORKS["cnn-residual-attention"](10, Streams([seed])).eval()
                torch.testing.assert_close(alone(x[i : i + 1])[0], both[i], rtol=1e-4, atol=1e-5)

    def test_the_published_one_is_what_the_paper_describes(self):
        """An independent network of plain layers with the same weights, and the full matrix."""
        ours = ImageNetwork(10, Streams([0])).train()
        x = torch.randn(1, 3, 2000, 50)
        torch.testing.assert_close(ours(x)[0], _plain(ours, x[0]), rtol=1e-3, atol=1e-4)

    def test_attention_weighs_values_by_the_products_of_queries_and_keys(self):
        for n_channels in (1, 3):
            layer = StackedAttention(n_channels, Streams([0, 1]))
            x = torch.randn(4, 2 * n_channels, 5, 6)
            found = torch.cat(
                [_attend(layer, x[:, m * n_channels : (m + 1) * n_channels], m) for m in (0, 1)], 1
            )
            torch.testing.assert_close(layer(x), found)

    def test_tables_are_padded_to_the_middle(self):
        image = images([np.ones((4, 2)), np.ones((2000, 50))])
        assert image.shape == (2, 2000, 50)
        assert image[0, 998:1002, 24:26].sum() == 8 == image[0].sum()
        assert image[1].min() == 1

    def test_only_a_batch_is_in_memory(self, labelled):
        datasets, _ = labelled
        source = Images(datasets, ordered=False)
        (batch,) = source.batch(torch.tensor([[3, 5], [5, 7]]), "cpu")
        assert batch.shape == (2, 2, 2000, 50)
        torch.testing.assert_close(batch[0, 1], batch[1, 0])
        assert not any(isinstance(v, list | torch.Tensor) for v in vars(source).values())

    def test_tables_are_read_once_for_several_models(self, labelled, fitted):
        datasets, scores = labelled
        read = fitted.read(datasets)
        again = ClustRecNet(n_folds=2, max_epochs=30, random_state=0, device="cpu")
        again.fit(read, scores)
        np.testing.assert_array_equal(again.fold_probabilities_, fitted.fold_probabilities_)
        np.testing.assert_allclose(
            fitted.predict_proba(read[:5]),
            [fitted.predict_proba(datasets[i]) for i in range(5)],
            atol=1e-6,
        )

    def test_tables_are_described_alike_by_several_processes(self, labelled):
        datasets, _ = labelled
        alone, together = (Descriptions.of(datasets[:40], n_jobs=n).parts for n in (1, 2))
        assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
        assert len(alone[0]) == 40

    def test_tables_read_for_the_other_network_are_refused(self, labelled, fitted):
        datasets, scores = labelled
        images = ClustRecNet(**PUBLISHED).read(datasets)
        with pytest.raises(ValueError, match="these data sets were read as images"):
            fitted.fit(images, scores)

    @pytest.mark.parametrize("ordered", [True, False])
    def test_a_bad_table_among_many_is_named(self, ordered):
        tables = [np.random.default_rng(i).standard_normal((30, 2)) for i in range(20)]
        tables[18][3, 1] = np.nan
        model = ClustRecNet(ordered=ordered)
        with pytest.raises(ValueError, match="data set 18: X contains NaN in column 1, row 3"):
            model.read(tables)

    def test_train(self, labelled):
        datasets, scores = labelled
        few = [datasets[i] for i in range(8)]
        settings = PUBLISHED | {"n_folds": 2, "max_epochs": 2, "batch_size": 4}
        model = ClustRecNet(**settings, random_state=0, device="cpu").fit(few, scores[:8])
        assert model.history_["cross-entropy"].shape == (2, 2)
        assert model.predict_proba(few[0]).shape == (10,)


def _conv(layer, stride):
    weight = layer.weight[0]
    conv = nn.Conv2d(weight.shape[1], len(weight), weight.shape[-1], stride, weight.shape[-1] // 2)
    conv.load_state_dict({"weight": weight, "bias": layer.bias[0]})
    return conv


def _plain(ours, x):
    """Compute the network of one model layer by layer, batch statistics included."""
    conv, _, _, _, first, second, attention = ours.blocks
    x = _conv(conv, 1)(x[:, None])
    x = nn.functional.max_pool2d(torch.relu(nn.BatchNorm2d(1)(x)), 2)
    for block, n in ((first, 2), (second, 3)):
        inner = torch.relu(nn.BatchNorm2d(n)(_conv(block.first, 2)(x)))
        inner = nn.BatchNorm2d(n)(_conv(block.second, 1)(inner))
        x = torch.relu(inner + nn.BatchNorm2d(n)(_conv(block.shortcut, 2)(x)))
    assert x.shape[1:] == (3, 250, 7)
    x = _attend(attention, x, 0).flatten(1)
    x = torch.relu(x @ ours.hidden.weight[0] + ours.hidden.bias[0])
    return x @ ours.output.weight[0] + ours.output.bias[0]


def _attend(layer, x, model):
    def project(part):
        weight, bias = part.weight[model, :, :, 0, 0], part.bias[model]
        return torch.einsum("oc,bcp->bop", weight, x.flatten(2)) + bias[:, None]

    query, key, value = (project(part) for part in (layer.query, layer.key, layer.value))
    weights = torch.softmax(query.mT @ key, dim=-1)  # (batch, positions, positions)
    return (value @ weights.mT).view(x.shape) + x


class TestFit:
    def test_learns_which_algorithms_suit(self, fitted, labelled):
        always = score(np.tile(_prior(labelled[1]), (60, 1)), labelled[1].to_numpy())
        assert fitted.fold_scores_["micro F1"].mean() > always["micro F1"] + 0.05
        loss = fitted.history_["cross-entropy"].mean(axis=1)
        assert loss[-1] < 0.7 * loss[0]

    def test_left_out_data_sets_are_judged_by_the_network_that_left_them_out(
        self, fitted, labelled
    ):
        parts = descriptors.describe(descriptors.sample(labelled[0][4]))
        inputs = [
            torch.from_numpy(part)[None, None].expand(2, *[-1] * (part.ndim + 1)) for part in parts
        ]
        with torch.no_grad():
            both = torch.sigmoid(fitted.network_(*inputs))[:, 0].numpy()
        np.testing.assert_allclose(fitted.fold_probabilities_[4], both[fitted.folds_[4]], atol=1e-5)

    def test_each_fold_trains_on_all_others(self, fitted):
        for fold, rows in enumerate(fitted._training_rows()):
            assert set(rows) == set(np.flatnonzero(fitted.folds_ != fold))

    def test_same_seed_same_model(self, fitted, labelled):
        again = ClustRecNet(n_folds=2, max_epochs=30, random_state=0, device="cpu").fit(*labelled)
        np.testing.assert_array_equal(again.fold_probabilities_, fitted.fold_probabilities_)

    def test_a_failed_algorithm_counts_as_unsuitable(self):
        assert score(np.array([[0.9, 0.1]]), np.array([[np.nan, 0.9]])) == {
            "micro F1": 0.0,
            "Hamming loss": 1.0,
            "ARI": 0.0,
        }

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda s: s.to_numpy()[:, :9], "scores have shape"),
            (lambda s: s.iloc[:5], "scores have shape"),
            (lambda s: s[s.columns[::-1]], "columns of scores are"),
        ],
    )
    def test_scores_that_do_not_fit_are_refused(self, labelled, change, message):
        with pytest.raises(ValueError, match=message):
            ClustRecNet().fit(labelled[0], change(labelled[1]))

    def test_too_few_data_sets_are_refused(self, labelled):
        datasets, scores = labelled
        with pytest.raises(ValueError, match="too few for n_folds=5"):
            ClustRecNet().fit([datasets[0]] * 4, scores[:4])


def _prior(scores):
    return (scores > 0.8).mean().to_numpy()


class TestRecommend:
    def test_names_every_algorithm_best_first(self, model, iris):
        found = model.recommend(iris[0])
        assert set(found["algorithm"]) == set(NAMES)
        assert found["probability"].is_monotonic_decreasing
        assert found["probability"].between(0, 1).all()
        assert found.attrs["table"] == "all 150 rows"

    def test_the_number_of_clusters_is_given_to_those_that_need_it(self, model, iris):
        found = model.recommend(iris[0], n_clusters=3).set_index("algorithm")["n_clusters"]
        assert found.isna().sum() == 3
        assert set(found.dropna()) == {3}

    def test_settings_run(self, model, iris):
        found = model.recommend(iris[0], n_clusters=3)
        assert found.set_index("algorithm").loc["DBSCAN", "settings"].keys() == {
            "min_samples",
            "eps",
        }

    def test_is_the_same_for_every_order_of_rows_and_columns(self, model, iris):
        first = model.recommend(iris[0], n_clusters=3)
        for seed in range(5):
            again = model.recommend(shuffled(iris[0], seed), n_clusters=3)
            pd.testing.assert_frame_equal(again, first)

    def test_clusters_by_the_first(self, model, iris):
        X, y = iris
        first = model.recommend(X).iloc[0]
        labels = model.cluster(X)
        expected = selection.cluster(
            descriptors.standardise(X), ALGORITHMS[first["algorithm"]], first["n_clusters"]
        )
        np.testing.assert_array_equal(labels, expected)
        assert adjusted_rand_score(y, labels) > 0.5

    def test_a_large_table_is_clustered_through_a_sample(self, monkeypatch):
        monkeypatch.setattr(selection, "MANY_ROWS", 100)
        random = np.random.default_rng(0)
        y = random.integers(3, size=400)
        Z = 10 * np.eye(3)[y] + random.standard_normal((400, 3))
        labels = selection.cluster(Z, ALGORITHMS["k-means"], 3)
        assert adjusted_rand_score(y, labels) == 1

    @pytest.mark.parametrize("index", ["silhouette", "Calinski-Harabasz"])
    def test_the_number_of_clusters_is_where_the_index_peaks(self, index):
        random = np.random.default_rng(0)
        Z = 10 * np.eye(4)[np.arange(200) % 4] + random.standard_normal((200, 4))
        scores = selection.score_candidates(Z, ALGORITHMS["Ward"], index)
        assert list(scores.index) == list(range(2, 16))
        assert scores.idxmax() == 4

    @pytest.mark.parametrize(
        ("X", "message"),
        [
            (np.zeros((1, 3)), "X has shape (1, 3); a table of 10 rows or more is needed"),
            (np.zeros(30), "X has shape (30,)"),
            (np.ones((20, 3)), "all 3 columns are constant"),
            (np.full((20, 2), np.nan), "X contains NaN in column 0, row 0"),
            (np.array([["a", "b"]] * 20), "X holds text"),
            (pd.DataFrame({"sex": ["f"] * 20}), "column 'sex' is not numeric"),
        ],
    )
    def test_bad_tables_get_one_clear_line(self, model, X, message):
        for method in (model.recommend, model.predict_proba, model.cluster):
            with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
                method(X)
            assert message in str(caught.value)

    def test_an_unknown_index_is_refused(self, model, iris):
        with pytest.raises(ValueError, match="index 'gap' is unknown"):
            model.recommend(iris[0], index="gap")


class TestFiles:
    def test_a_saved_model_says_the_same(self, fitted, iris, tmp_path):
        fitted.save(tmp_path)
        again = ClustRecNet.load(tmp_path)
        np.testing.assert_array_equal(again.predict_proba(iris[0]), fitted.predict_proba(iris[0]))
        np.testing.assert_array_equal(again.folds_, fitted.folds_)

    def test_the_pretrained_one_is_small_and_says_what_it_has_seen(self, model):
        files = [file for file in pretrained.FOLDER.rglob("*") if file.suffix != ".pyc"]
        assert sum(file.stat().st_size for file in files if file.parent == pretrained.MODEL) < 1e6
        record = json.loads((pretrained.MODEL / "training.json").read_text())
        assert model.n_datasets_ == record["n_training"]

    def test_labels_of_both_splits_are_whole_and_share_no_data_set(self):
        parts = {split: pretrained.load(split) for split in ("training", "test")}
        for settings, labels in parts.values():
            assert labels.groupby("dataset")["algorithm"].nunique().eq(10).all()
            seeds = labels.drop_duplicates("dataset").set_index("dataset")["seed"]
            pd.testing.assert_series_equal(seeds, settings["seed"], check_names=False)
        assert not set(parts["training"][0]["seed"]) & set(parts["test"][0]["seed"])

    def test_an_unknown_split_is_refused(self):
        with pytest.raises(ValueError, match="no split 'validation'"):
            pretrained.load("validation")


def test_the_pretrained_model_beats_every_single_algorithm(model):
    """On some data sets of the test split, which it has never seen."""
    settings, labels = pretrained.load("test")
    few = settings[settings["n_clusters"] * settings["cluster_size"] <= 500].iloc[:60]
    scores = wide(labels).loc[few.index]
    probability = np.stack([model.predict_proba(X) for X in DataSets(few)])
    found = score(probability, scores.to_numpy())
    assert found["micro F1"] > 0.757  # published, for the published network
    assert found["ARI"] > scores.mean().max()


class TestMakingThePretrainedModel:
    def test_labels_go_on_where_they_ended(self, tmp_path, monkeypatch):
        monkeypatch.setattr(making, "FOLDER", tmp_path)
        making.main(["--training", "1"])
        first = pd.read_parquet(tmp_path / "training.parquet")
        making.main(["--training", "2"])
        both = pd.read_parquet(tmp_path / "training.parquet")
        pd.testing.assert_frame_equal(both.iloc[:10], first)
        assert len(both) == 20

    def test_the_record_says_what_was_seen_and_how_well_it_went(self, tmp_path, monkeypatch):
        monkeypatch.setattr(making, "MODEL", tmp_path)
        monkeypatch.setattr(making, "load", _a_few)
        record = making.train()
        assert json.loads((tmp_path / "training.json").read_text()) == record
        assert record["n_training"] == record["test"]["n_datasets"] == 10
        assert 0 <= record["test"]["Hamming loss"] < 0.5
        assert ClustRecNet.load(tmp_path).n_datasets_ == 10


def _a_few(split):
    settings, labels = pretrained.load(split)
    few = settings[settings["n_clusters"] * settings["cluster_size"] <= 250].iloc[:10]
    return few, labels[labels["dataset"].isin(few.index)]
