"""Names and values from data as people read them: on one line, and cut where they are long."""


def short(value, length: int = 60) -> str:
    """Return a value as one line of text that fits a message or a name.

    Parameters
    ----------
    value : object
        Its text counts; however long that is, no more than the beginning is looked at.
    length : int, at least 1, default=60
        Characters.

    Examples
    --------
    >>> short("one  two three", 9)
    'one two …'
    """
    text = " ".join(str(value)[: 4 * length].split())
    return text if len(text) <= length else text[: length - 1] + "…"
