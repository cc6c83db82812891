"""Published result tables, as printed, for comparison with our own records."""

from importlib.resources import files

import pandas as pd

_IDC = "Svirsky and Lindenbaum (2024), Interpretable Deep Clustering, preprint of ICML 2024"
_NEURCAM = "Upadhya and Cohen (2024), NeurCAM: Interpretable Neural Clustering via Additive Models"
_BRB = (
    "Miklautz et al. (2025), Breaking the Reclustering Barrier in Centroid-based Deep Clustering, "
    "ICLR 2025, arXiv:2411.02275"
)

SOURCES = {
    "brb_autoencoder": f"{_BRB}: feed-forward autoencoders, ACC in %",
    "brb_contrastive": f"{_BRB}: contrastive ResNet-18, ACC, NMI and ARI in %",
    "clustrecnet_real_data": "ClustRecNet, github.com/confanonymgit/clustrecnet: real data, ARI",
    "idc_ablation": f"{_IDC}: Table 5, ACC, ARI and NMI in %",
    "idc_biomedical": f"{_IDC}: Table 6, ACC in %",
    "idc_images": f"{_IDC}: Tables 3 and 4, ACC, ARI and NMI in %",
    "idc_interpretability": f"{_IDC}: Table 1, ACC and diversity in %",
    "idc_synthetic": f"{_IDC}: Table 2, ACC and F1 of selected features in %",
    "imn_churn": "Results in github.com/Andresok1/IMN-iML-Project-2026-1: Telco churn, per cluster",
    "neurcam_ablation": f"{_NEURCAM}: Table 3, ablation on text data",
    "neurcam_tabular": f"{_NEURCAM}: Table 1, tabular data",
    "neurcam_text": f"{_NEURCAM}: Table 2, text data",
}
NAMES = tuple(SOURCES)


def load(name: str) -> pd.DataFrame:
    """Read a published table.

    Parameters
    ----------
    name : str
        One of `NAMES`.

    Returns
    -------
    DataFrame
        The table as printed, missing cells NaN; `attrs["source"]` says where it was published and
        in which unit.

    Raises
    ------
    ValueError
        Unknown name.

    Examples
    --------
    >>> table = load("idc_synthetic").set_index("method")
    >>> float(table.loc["IDC", "acc"])
    99.91
    """
    if name not in SOURCES:
        raise ValueError(f"no published table {name!r}; choose one of {', '.join(NAMES)}")
    table = pd.read_csv(files(__package__) / f"{name}.csv")
    table.attrs["source"] = SOURCES[name]
    return table
