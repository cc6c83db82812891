"""Explanations as people read them: text, and cards with bars in a notebook."""

import html

import numpy as np

from whycluster.contract.wording import short

KINDS = {
    "gate": "openness of the feature's gate, 0 (closed) to 1 (open)",
    "contribution": "what the feature adds to the score of the row's cluster",
    "attribution": "post-hoc share of the feature in the model's output",
}
SHOWN_CLUSTERS = 20  # clusters written out by str() and in a notebook
SHOWN_FEATURES = 5  # features written out for each of them
SHOWN_CHARACTERS = 40  # of a feature name in a display; names themselves are never cut


def as_text(explanation) -> str:
    """Return lines of text: what was asked, then the strongest features of each cluster."""
    lines = [f"Explanation by {_summary(explanation)}"]
    lines += [f"  {title}: {_sentence(top)}" for title, _, top in _shown(explanation)]
    return "\n".join(lines + _not_shown(explanation, "  "))


def as_html(explanation) -> str:
    """Return one small table per cluster, with bars; every name is escaped."""
    cards = "".join(_card(title, colour, top) for title, colour, top in _shown(explanation))
    more = "".join(f"<p>{line}</p>" for line in _not_shown(explanation, ""))
    style = "display:flex;flex-wrap:wrap;align-items:start;gap:12px 28px"
    return (
        f'<div class="whycluster-explanation"><p><b>Explanation by {_summary(explanation)}.</b> '
        f"{KINDS[explanation.kind].capitalize()}.</p>"
        f'<div style="{style}">{cards}</div>{more}</div>'
    )


def _summary(explanation) -> str:
    e = explanation
    rows = "" if e.sample is None else f"{len(e.sample)} rows, "
    return f"{e.kind}: {rows}{e.n_clusters} clusters, {e.n_features} features"


def _shown(explanation) -> list[tuple[str, str, list[tuple[str, float, float]]]]:
    """Title, colour and (name, value, share of the largest) of each block of a display."""
    from whycluster.plots import NEUTRAL, cluster_colours  # here: it draws on matplotlib

    shown = list(explanation.cluster[:SHOWN_CLUSTERS])
    titles = [f"cluster {k}" for k in range(len(shown))] + ["overall"]
    colours = [*cluster_colours(len(shown)), NEUTRAL]
    return [
        (title, colour, _strongest(values, explanation.feature_names))
        for title, colour, values in zip(
            titles, colours, [*shown, explanation.overall], strict=True
        )
    ]


def _strongest(values, feature_names) -> list[tuple[str, float, float]]:
    """(name, value, share of the largest) of the strongest features, zeros left out."""
    order = [j for j in descending(values)[:SHOWN_FEATURES] if values[j] != 0]
    largest = abs(values[order[0]]) if order else 1.0
    names = [short(feature_names[j], SHOWN_CHARACTERS) for j in order]
    return [(n, values[j], abs(values[j]) / largest) for n, j in zip(names, order, strict=True)]


def descending(values) -> np.ndarray:
    """Feature order by absolute value, largest first; ties keep the order of the features."""
    return np.argsort(-np.abs(values), axis=-1, kind="stable")


def _not_shown(explanation, indent: str) -> list[str]:
    hidden = explanation.n_clusters - SHOWN_CLUSTERS
    return [f"{indent}and {hidden} more clusters: see to_frame()"] if hidden > 0 else []


def _sentence(top) -> str:
    return ", ".join(f"{name} {_number(value)}" for name, value, _ in top) or "no feature"


def _number(value: float) -> str:
    """Two significant digits, in plain notation where it is short."""
    text = f"{value:#.2g}" if 0.001 <= abs(value) < 100 else f"{value:.3g}"
    return text.rstrip(".")


def _card(title: str, colour: str, top) -> str:
    rows = "".join(_bar(name, value, share, colour) for name, value, share in top)
    rows = rows or '<tr><td style="text-align:left"><i>no feature</i></td></tr>'
    return (
        '<table style="border-collapse:collapse;margin:0;min-width:280px;color:inherit">'
        f'<caption style="text-align:left;font-weight:bold;color:inherit;padding:2px 0;'
        f'border-bottom:2px solid {colour}">{title}</caption><tbody>{rows}</tbody></table>'
    )


def _bar(name: str, value: float, share: float, colour: str) -> str:
    """One table row: name, value, and a bar whose length is the share of the largest value."""
    return (
        '<tr style="background:none">'
        f'<td style="text-align:left;padding:2px 0">{html.escape(name)}</td>'
        f'<td style="text-align:right;padding:2px 8px 2px 14px">{_number(value)}</td>'
        '<td style="text-align:left;width:84px;padding:2px 0"><div style="height:0.7em;'
        f'width:{80 * share:.0f}px;min-width:1px;background:{colour}"></div></td></tr>'
    )
