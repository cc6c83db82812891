"""Short texts about known topics, so that an explanation by words can be checked word by word."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

TOPICS = {
    "kitchen": "oven flour butter recipe spoon pan dough simmer garlic onion pepper sauce bake "
    "knife salt plate",
    "garden": "soil seed rose hedge spade lawn bloom weed root compost tulip prune shrub leaf "
    "watering greenhouse",
    "orchestra": "violin cello flute conductor melody rehearsal trumpet harp rhythm chord audience "
    "encore tempo oboe score drum",
    "harbour": "boat anchor sail tide captain pier rope lighthouse cargo deck ferry mast crew net "
    "gull wave",
}
COMMON = (
    "today we took a long while with the old new small large good again before after evening "
    "morning people town friend week year place every other many first last still often never"
)
OWN, OTHER = 0.45, 0.1  # shares of words of the text's own topic, and of the other topics


def make_topic_texts(
    n_texts: int = 600,
    *,
    n_words: int = 12,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[pd.Series, pd.Series, dict[str, list[str]]]:
    """Texts of drawn words, each about one of four topics.

    Of the words of a text 45 % belong to its topic, 10 % to others, the rest to none. Words of a
    topic are not equally frequent: word number i of its list is drawn with weight 1 / (i + 3).

    Parameters
    ----------
    n_texts : int, at least 4, default 600
    n_words : int, at least 1, default 12
        Words of a text, on average; from half as many to one and a half times as many.
    random_state : int, RandomState or None, default None

    Returns
    -------
    texts : Series of str of shape (n_texts,)
    topic : Series of shape (n_texts,)
        Category of each text, equally frequent.
    words : dict of str to list of str
        The words of each topic, the most frequent first.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> texts, topic, words = make_topic_texts(8, random_state=0)
    >>> sorted(topic)[::2]
    ['garden', 'harbour', 'kitchen', 'orchestra']
    """
    if n_texts < len(TOPICS) or n_words < 1:
        raise ValueError(f"n_texts={n_texts}, n_words={n_words}: give at least 4 texts of 1 word")
    random = check_random_state(random_state)
    words = {name: text.split() for name, text in TOPICS.items()}
    names = random.permutation(np.arange(n_texts) % len(words))
    lengths = random.randint(-(-n_words // 2), n_words * 3 // 2 + 1, n_texts)
    texts = [_text(list(words.values()), k, n, random) for k, n in zip(names, lengths, strict=True)]
    topic = pd.Series(pd.Categorical.from_codes(names, list(words)), name="topic")
    return pd.Series(texts, name="text"), topic, words


def _text(topics: list[list[str]], own: int, n_words: int, random) -> str:
    """Draw one text."""
    common = COMMON.split()
    others = [k for k in range(len(topics)) if k != own]
    drawn = []
    for kind in random.choice(3, n_words, p=[OWN, OTHER, 1 - OWN - OTHER]):
        if kind == 2:
            drawn.append(common[random.randint(len(common))])
            continue
        words = topics[own if kind == 0 else others[random.randint(len(others))]]
        weight = 1 / (np.arange(len(words)) + 3)
        drawn.append(words[random.choice(len(words), p=weight / weight.sum())])
    return f"{' '.join(drawn).capitalize()}."
