"""Data sets: the registry, finding files, one reader per format, the synthetic table."""

import dataclasses
import gzip
import hashlib
import http.server
import inspect
import io
import lzma
import os
import socket
import tarfile
import threading
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import rdata
import scipy.io
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from whycluster import datasets
from whycluster.datasets import __main__ as command
from whycluster.datasets import files, readers, registry
from whycluster.datasets.unix_compress import decompress

SAMPLES = Path(__file__).parent / "data_samples"

# Rows of each class, in the order of the classes, as counted in the upstream files.
CLASS_COUNTS = {
    "tox-171": [45, 45, 39, 42],
    "allaml": [47, 25],
    "prostate-ge": [50, 52],
    "glioma": [14, 7, 14, 15],
    "leukemia": [47, 25],
    "colon": [40, 22],
    "lung-discrete": [6, 5, 5, 16, 7, 13, 21],
    "lymphoma": [46, 10, 9, 11, 6, 6, 4, 2, 2],
    "srbct": [29, 11, 18, 25],
    "biase": [20, 20, 7, 9],
    "mnist": [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958],
    "mnist10k": [1000] * 10,
    "fashion-mnist": [7000] * 10,
    "kmnist": [7000] * 10,
    "usps": [1553, 1269, 929, 824, 852, 716, 834, 792, 708, 821],
    "gtsrb": [2250, 2100, 1110, 1200, 1200],
    "cifar10": [6000] * 10,
    "cifar10-batch-1": [1005, 974, 1032, 1016, 999, 937, 1030, 1001, 1025, 981],
    "cifar100-20": [3000] * 20,
    "coil20": [72] * 20,
    "orl": [10] * 40,
    "yale": [11] * 15,
    "warppie10p": [21] * 10,
    "isolet": [60] * 26,
    "letter": [789, 766, 736, 805, 768, 775, 773, 734, 755, 747, 739, 761, 792, 783]
    + [753, 803, 783, 758, 748, 796, 813, 764, 752, 787, 786, 734],
    "pendigits": [1143, 1143, 1144, 1055, 1144, 1055, 1056, 1142, 1055, 1055],
    "optdigits": [554, 571, 557, 572, 568, 558, 558, 566, 554, 562],
    "shuttle": [10, 13, 3267, 50, 171, 8903, 45586],
    "avila": [8572, 10, 206, 705, 2190, 3923, 893, 1039, 1663, 89, 1044, 533],
    "breast-tissue": [22, 21, 14, 15, 16, 18],
    "ecoli": [143, 77, 2, 2, 35, 20, 5, 52],
    "glass": [70, 76, 13, 29, 9, 17],
    "haberman": [225, 81],
    "iris-uci": [50, 50, 50],
    "parkinsons": [147, 48],
    "blood-transfusion": [570, 178],
    "vehicle": [218, 212, 217, 199],
    "vertebral-column": [60, 100, 150],
    "vertebral-column-2c": [210, 100],
    "wine-quality-red": [10, 53, 681, 638, 199, 18],
    "adult": [37155, 11687],
    "telco-churn": [5174, 1869],
    "german-credit": [300, 700],
    "bank-marketing": [4000, 521],
    "heart-disease": [164, 55, 36, 35, 13],
    "iris": [50, 50, 50],
    "wine": [59, 71, 48],
    "breast-cancer": [212, 357],
    "digits": [178, 182, 177, 183, 181, 182, 181, 179, 174, 180],
    "idc-synthetic": [800] * 4,
    "topics": [150] * 4,
    "ag-news": [1900] * 4,
    "ag-news-4000": [1000] * 4,
    "ag-news-short": [2000] * 4,
    "dbpedia": [1000] * 14,
    "20newsgroups": [799, 973, 985, 982, 963, 988, 975, 990, 996, 994, 999, 991, 984, 990, 987]
    + [997, 910, 940, 775, 628],
    "yahoo-answers": [1000] * 10,
    "stackoverflow": [1000] * 20,
    "search-snippets": [1500, 1500, 2210, 2660, 370, 1180, 1500, 1420],
    "biomedical": [1000] * 20,
}


def class_counts(target):
    return target.value_counts().sort_index().tolist()


# ------------------------------------------------------------------------------------- real files


@pytest.mark.parametrize("name", registry.names())
def test_real_files_have_the_registered_shape_and_classes(name):
    entry = registry.find(name)
    missing = [file.path for file in entry.files if files.locate(file) is None]
    if missing:
        pytest.skip(f"not in $WHYCLUSTER_DATA nor in the cache: {', '.join(missing)}")
    data = datasets.load(name)
    assert data.features.shape == entry.shape
    assert class_counts(data.target) == CLASS_COUNTS[name]
    assert data.features.columns.is_unique
    assert data.target.name not in data.features


def test_test_part_of_kmnist_is_read_without_the_training_part():
    if any(files.locate(file) is None for file in registry.find("kmnist").files_of("test")):
        pytest.skip("the test part of kmnist is not in $WHYCLUSTER_DATA nor in the cache")
    data = datasets.load("kmnist", part="test")
    assert data.features.shape == (10000, 784)
    assert class_counts(data.target) == [1000] * 10


@pytest.mark.parametrize(
    ("name", "n_missing", "columns"),
    [
        ("adult", 6465, {"workclass", "occupation", "native-country"}),
        ("telco-churn", 11, {"TotalCharges"}),
        ("heart-disease", 6, {"ca", "thal"}),
    ],
)
def test_missing_values_of_real_files_stay_missing(name, n_missing, columns):
    if any(files.locate(file) is None for file in registry.find(name).files):
        pytest.skip(f"the files of {name} are not in $WHYCLUSTER_DATA nor in the cache")
    missing = datasets.load(name).features.isna().sum()
    assert missing.sum() == n_missing
    assert set(missing.index[missing > 0]) == columns


# ----------------------------------------------------------------- tiny files of the same formats


@pytest.fixture
def supply(tmp_path, monkeypatch):
    """Replace the files of a data set by given bytes, found through $WHYCLUSTER_DATA."""
    folder = tmp_path / "supplied"
    folder.mkdir()
    monkeypatch.setenv(files.VARIABLE, str(folder))
    monkeypatch.setattr(files, "cache_folder", lambda: tmp_path / "cache")

    def supply_files(name, *contents):
        entry = registry.find(name)
        supplied = []
        for file, content in zip(entry.files, contents, strict=True):
            path = folder / file.path
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
            checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
            supplied.append(dataclasses.replace(file, checksum=checksum))
        entry = dataclasses.replace(entry, files=tuple(supplied))
        monkeypatch.setitem(registry.ENTRIES, name, entry)
        return folder

    return supply_files


def saved(save, tmp_path):
    """Bytes that `save(path)` writes."""
    path = tmp_path / "tiny"
    save(path)
    return path.read_bytes()


def as_mat(X, Y):
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"X": X, "Y": Y})
    return buffer.getvalue()


def as_idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(header + array.astype(np.uint8).tobytes())


def test_mat_files_keep_labels_and_number_the_features(supply):
    X = np.array([[0.5, 1.5], [2.5, 3.5], [4.5, 5.5]])
    supply("tox-171", as_mat(X, [[1], [2], [2]]))
    data = datasets.load("tox-171")
    assert list(data.features) == ["feature_1", "feature_2"]
    np.testing.assert_array_equal(data.features, X)
    assert data.target.tolist() == [1, 2, 2]


def test_mat_images_are_put_row_by_row(supply):
    image = np.arange(32 * 32, dtype=np.int16).reshape(32, 32)
    supply("coil20", as_mat(image.ravel(order="F")[None], [[7]]))
    features = datasets.load("coil20").features
    assert features["pixel_r3_c7"].item() == image[3, 7]
    np.testing.assert_array_equal(features.to_numpy().reshape(32, 32), image)


def test_rda_files_name_each_gene_once(supply, tmp_path):
    genes = pd.DataFrame({"Image.Id.": [11, 12, 13, 13], "Gene.Description": ["a", "", "b", "b"]})
    content = {"X": np.arange(12.0).reshape(3, 4), "Y": np.array([1.0, 4.0, 1.0])}
    content["gene.names"] = genes.astype({"Gene.Description": object})  # rdata writes no str column
    supply("srbct", saved(lambda path: rdata.write_rda(path, {"SRBCT": content}), tmp_path))
    data = datasets.load("srbct")
    assert list(data.features) == ["a [IMAGE:11]", "[IMAGE:12]", "b [IMAGE:13]", "b [IMAGE:13] (2)"]
    np.testing.assert_array_equal(data.features, content["X"])
    assert data.target.tolist() == ["EWS", "RMS", "EWS"]


def test_expression_matrices_are_transposed(supply):
    text = (
        "sample_labels,1,1,1\ncell_label,3,0,0\nclusters,2,2,2\nENSMUSG1,0,7.5,1\nENSMUSG2,2,0,3\n"
    )
    supply("biase", text.encode())
    data = datasets.load("biase")
    assert list(data.features) == ["ENSMUSG1", "ENSMUSG2"]
    assert data.features.to_numpy().tolist() == [[0, 2], [7.5, 0], [1, 3]]
    assert data.target.tolist() == ["zygote", "2-cell", "2-cell"]


def test_idx_files_come_in_parts(supply):
    images = np.arange(5 * 2 * 3).reshape(5, 2, 3)
    train, test = as_idx(images[:3]), as_idx(images[3:])
    supply("fashion-mnist", train, as_idx(np.array([9, 0, 1])), test, as_idx(np.array([2, 2])))
    every = datasets.load("fashion-mnist")
    assert list(every.features)[-1] == "pixel_r1_c2"
    np.testing.assert_array_equal(every.features, images.reshape(5, 6))
    assert every.target.tolist() == ["Ankle boot", "T-shirt/top", "Trouser", "Pullover", "Pullover"]
    assert len(datasets.load("fashion-mnist", part="train").features) == 3
    assert datasets.load("fashion-mnist", part="test").target.tolist() == ["Pullover", "Pullover"]


def test_mnist10k_draws_as_many_of_each_digit(supply, monkeypatch):
    labels = np.arange(60) % 3
    supply("mnist10k", as_idx(np.arange(60).reshape(60, 1, 1)), as_idx(labels))
    monkeypatch.setitem(registry.ENTRIES["mnist10k"].options, "rows_per_class", 5)
    first, again = (datasets.load("mnist10k", random_state=1) for _ in range(2))
    other = datasets.load("mnist10k", random_state=2)
    rows = first.features["pixel_r0_c0"]
    assert class_counts(first.target) == [5, 5, 5]
    assert (labels[rows] == first.target).all()
    assert rows.is_monotonic_increasing
    assert rows.is_unique
    pd.testing.assert_frame_equal(first.features, again.features)
    assert not first.features.equals(other.features)


def test_hdf5_groups_follow_each_other(supply, tmp_path):
    def save(path):
        with h5py.File(path, "w") as file:
            for group, rows in {"train": [1, 2], "test": [3]}.items():
                file[f"{group}/data"] = np.full((len(rows), 256), 0.5, np.float32)
                file[f"{group}/target"] = np.array(rows, np.int32)

    supply("usps", saved(save, tmp_path))
    data = datasets.load("usps")
    assert data.features.shape == (3, 256)
    assert data.target.tolist() == [1, 2, 3]


def test_xls_sheets_drop_the_case_number(supply):
    supply("breast-tissue", (SAMPLES / "tissue.xls").read_bytes())  # written by xlwt 1.3
    data = datasets.load("breast-tissue")
    assert list(data.features) == ["I0", "PA500"]
    assert data.features["I0"].tolist() == [524.79, 330.0, 551.9]
    assert data.target.tolist() == ["carcinoma", "adipose", "connective"]


def test_adult_keeps_categories_and_missing_values(supply):
    row = (
        "39, {}, 77516, Bachelors, 13, Never-married, Sales, Wife, White, Male, 2174, 0, 40, {}, {}"
    )
    train = row.format("State-gov", "United-States", "<=50K") + "\n\n"
    test = "|1x3 Cross validator\n" + row.format("?", "Cuba", ">50K.") + "\n\n"
    supply("adult", train.encode(), test.encode())
    data = datasets.load("adult")
    assert data.target.tolist() == ["<=50K", ">50K"]
    assert data.features["workclass"].isna().tolist() == [False, True]
    assert data.features["native-country"].tolist() == ["United-States", "Cuba"]
    assert (data.features.dtypes == "category").sum() == 8
    assert data.features["age"].dtype == np.int64


def test_telco_blank_charges_are_missing_and_customers_unnamed(supply):
    header = "customerID,gender,SeniorCitizen,tenure,TotalCharges,Churn"
    supply("telco-churn", f"{header}\n1-A,Male,1,0, ,No\n2-B,Female,0,9,29.85,Yes\n".encode())
    data = datasets.load("telco-churn")
    assert "customerID" not in data.features
    assert data.features["TotalCharges"].isna().tolist() == [True, False]
    assert data.features["TotalCharges"].dtype == np.float64
    assert data.features["SeniorCitizen"].tolist() == ["Yes", "No"]


def test_codes_are_spelled_out_and_question_marks_missing(supply):
    text = "63.0,1.0,4.0,145,233,1.0,2.0,150,0.0,2.3,3.0,?,?,0\n"
    supply("heart-disease", text.encode())
    features = datasets.load("heart-disease").features
    assert features.loc[0, ["sex", "cp", "slope"]].tolist() == ["male", "asymptomatic", "down"]
    assert features[["ca", "thal"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("name", "text", "features", "target"),
    [
        ("ecoli", "AAT_ECOLI  0.49  0.29  0.48  0.50  0.56  0.24  0.35   cp\n", 7, "cp"),
        ("vertebral-column", "63.03 22.55 39.61 40.48 98.67 -0.25 DH\n", 6, "disk hernia"),
        ("bank-marketing", '"age";"job";"y"\n30;"unemployed";"no"\n', 2, "no"),
        ("parkinsons", "name,NHR,status,RPDE\r\nS1,0.02,1,0.41\r\n", 2, "Parkinson's"),
        ("blood-transfusion", '"a","whether he/she donated blood in March 2007"\r\n2 ,1\r\n', 1, 1),
        ("haberman", "30,64,1,2\n", 3, "less than 5 years"),
        ("glass", "1,1.5,13,4,1,71,0,8,0,0,7\n", 9, "headlamp"),
    ],
)
def test_text_dialects_are_read(supply, name, text, features, target):
    supply(name, text.encode())
    data = datasets.load(name)
    assert data.features.shape == (1, features)
    assert data.target.tolist() == [target]


def test_compressed_text_is_read(supply):
    text = "55 0 81 0 -6 11 25 88 64 4\n"
    supply("shuttle", stored_as_z(text.encode()), text.encode())
    data = datasets.load("shuttle")
    assert data.features["sensor_5"].tolist() == [-6, -6]
    assert data.target.tolist() == ["High", "High"]


def stored_as_z(data):
    """A .Z file whose codes are the bytes themselves; for fewer than 255 of them."""
    bits = "".join(f"{byte:09b}"[::-1] for byte in data)
    bits += "0" * (-len(bits) % 8)
    packed = bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, len(bits), 8))
    return b"\x1f\x9d\x90" + packed


@pytest.mark.parametrize("sample", ["ten_bits.Z", "sixteen_bits.Z"])
def test_files_of_compress_are_decompressed(sample):
    # Written by compress(1) 4.2.4; with ten bits the dictionary fills up and is cleared once.
    repeats = ["ab" * (i % 50) for i in range(200)]
    numbers = [f"{i * i % 997}" for i in range(1400)]
    words = ["xyzw"[i % 4] + "pqrst"[i % 5] + "uvklmno"[i % 7] for i in range(1500)]
    expected = "\n".join(repeats + numbers + words).encode()
    assert decompress((SAMPLES / sample).read_bytes()) == expected


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x1f\x9d\x89abc", stored_as_z(b"\xff" * 3)])
def test_other_bytes_are_not_taken_for_compressed(data):
    damaged = data[:-1] + b"\xff" if len(data) > 6 else data
    with pytest.raises(ValueError, match=r"\.Z file"):
        decompress(damaged)


# ------------------------------------------------------------------------------- looking up files


def test_bundled_sets_need_no_file(monkeypatch):
    monkeypatch.setenv(files.VARIABLE, "/nowhere")
    assert datasets.load("breast-cancer").features.shape == (569, 30)


def test_supplied_file_is_used_where_it_lies(supply):
    folder = supply("haberman", b"30,64,1,1\n")
    (file,) = registry.find("haberman").files
    assert files.fetch(file) == folder / file.path


def test_damaged_supplied_file_is_reported_and_kept(supply):
    path = supply("haberman", b"30,64,1,1\n") / "haberman/haberman.data"
    path.write_bytes(b"30,64,1,2\n")
    with pytest.raises(ValueError, match=r"haberman\.data is damaged .* replace it") as caught:
        datasets.load("haberman")
    assert_one_line(caught)
    assert path.read_bytes() == b"30,64,1,2\n"


def test_folder_that_does_not_exist_is_an_error(monkeypatch):
    monkeypatch.setenv(files.VARIABLE, "/nowhere/at/all")
    with pytest.raises(FileNotFoundError, match="/nowhere/at/all is not a folder"):
        datasets.load("haberman")


def assert_one_line(caught):
    assert "\n" not in str(caught.value)


class Server(http.server.ThreadingHTTPServer):
    """Answers each GET with the next of `bodies`; the last one repeats, None means 404."""

    def __init__(self, bodies):
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies, self.n_requests = bodies, 0


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.server.bodies[min(self.server.n_requests, len(self.server.bodies) - 1)]
        self.server.n_requests += 1
        self.send_response(404 if body is None else 200)
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_):
        pass


@pytest.fixture
def upstream(tmp_path, monkeypatch):
    """Serve bodies over HTTP as the one file of haberman, whose right content is given."""
    monkeypatch.delenv(files.VARIABLE, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # pooch's pause before a second try
    monkeypatch.setattr(files, "cache_folder", lambda: tmp_path / "cache")
    servers = []

    def serve(right, *bodies, member=None):
        server = Server(bodies)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/data"
        replace_haberman(monkeypatch, right, url, member)
        return server

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def replace_haberman(monkeypatch, right, url, member=None):
    entry = registry.find("haberman")
    checksum = f"sha256:{hashlib.sha256(right).hexdigest()}"
    file = dataclasses.replace(entry.files[0], checksum=checksum, url=url, member=member)
    monkeypatch.setitem(registry.ENTRIES, "haberman", dataclasses.replace(entry, files=(file,)))


RIGHT, WRONG = b"30,64,1,1\n", b"<html>try later</html>"


def test_download_is_kept_in_the_cache(upstream):
    server = upstream(RIGHT, RIGHT, WRONG)
    for _ in range(2):
        assert datasets.load("haberman").features.shape == (1, 3)
    assert server.n_requests == 1


def test_corrupted_download_is_tried_again(upstream):
    server = upstream(RIGHT, WRONG, RIGHT)
    assert datasets.load("haberman").features.shape == (1, 3)
    assert server.n_requests == 2


def test_download_that_stays_corrupted_is_not_kept(upstream, tmp_path):
    upstream(RIGHT, WRONG)
    with pytest.raises(ValueError, match=r"haberman\.data is damaged.*by hand") as caught:
        datasets.load("haberman")
    assert_one_line(caught)
    assert not any(path.is_file() for path in (tmp_path / "cache").rglob("*"))


def test_damaged_file_in_the_cache_is_fetched_again(upstream, tmp_path):
    server = upstream(RIGHT, RIGHT)
    datasets.load("haberman")
    cached = tmp_path / "cache/haberman/haberman.data"
    cached.write_bytes(WRONG)
    assert datasets.load("haberman").features.shape == (1, 3)
    assert cached.read_bytes() == RIGHT
    assert server.n_requests == 2


def test_missing_page_is_reported(upstream):
    upstream(RIGHT, None)
    with pytest.raises(FileNotFoundError, match=r"\(HTTP 404\)") as caught:
        datasets.load("haberman")
    assert_one_line(caught)


def test_unreachable_source_says_how_to_supply_the_file(tmp_path, monkeypatch):
    monkeypatch.delenv(files.VARIABLE, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # pooch's pause before a second try
    monkeypatch.setattr(files, "cache_folder", lambda: tmp_path)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/data"
    replace_haberman(monkeypatch, RIGHT, url)
    with pytest.raises(FileNotFoundError, match=r"haberman\.data.*FOLDER/haberman") as caught:
        datasets.load("haberman")
    assert_one_line(caught)
    assert url in str(caught.value)


def test_source_without_download_says_where_to_find_the_file(tmp_path, monkeypatch):
    monkeypatch.delenv(files.VARIABLE, raising=False)
    monkeypatch.setattr(files, "cache_folder", lambda: tmp_path)
    with pytest.raises(FileNotFoundError, match=r"kaggle\.com.*FOLDER/usps/usps\.h5"):
        datasets.load("usps")


def as_zip(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def as_tar_gz(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def test_member_of_an_archive_is_extracted(upstream, tmp_path):
    upstream(RIGHT, as_zip(inside=RIGHT, other=WRONG), member="inside")
    assert datasets.load("haberman").features.shape == (1, 3)
    assert (tmp_path / "cache/haberman/haberman.data").read_bytes() == RIGHT


def test_member_of_a_tar_archive_is_extracted(upstream):
    upstream(RIGHT, as_tar_gz({"folder/inside": RIGHT, "other": WRONG}), member="folder/inside")
    assert datasets.load("haberman").features.shape == (1, 3)


@pytest.mark.parametrize("archive", [WRONG, as_zip(other=RIGHT), as_tar_gz({"other": RIGHT})])
def test_archive_without_the_member_is_damaged(upstream, archive):
    upstream(RIGHT, archive, member="inside")
    with pytest.raises(ValueError, match=r"get member inside of .* by hand"):
        datasets.load("haberman")


def test_folder_by_the_name_of_the_member_is_no_member(upstream):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        folder = tarfile.TarInfo("inside")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    upstream(RIGHT, buffer.getvalue(), member="inside")
    with pytest.raises(ValueError, match=r"get member inside of .* by hand"):
        datasets.load("haberman")


# ------------------------------------------------------------------------------------ the registry


@pytest.mark.parametrize("name", ["TOX-171", "tox_171", "Tox 171"])
def test_names_are_taken_loosely(name):
    assert registry.find(name).name == "tox-171"


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("Synthetic", "idc-synthetic"),
        ("PROSTATE", "prostate-ge"),
        ("MNIST10K", "mnist10k"),
        ("FashionMNIST", "fashion-mnist"),
        ("Letters", "letter"),
        ("Transfusion", "blood-transfusion"),
        ("WineQualityRed", "wine-quality-red"),
    ],
)
def test_names_of_the_papers_are_known(alias, name):
    assert registry.find(alias).name == name


def test_unknown_name_suggests_close_ones():
    with pytest.raises(ValueError, match=r"'pendigit'; did you mean pendigits"):
        datasets.load("pendigit")


def test_unknown_part_lists_the_parts():
    with pytest.raises(ValueError, match=r"iris has no part 'train'; choose one of \('all',\)"):
        datasets.load("iris", part="train")


def photographs(names, colours):
    """Return the bytes of a zip archive of 6x4 PPM images of one colour, and a list of signs."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, colour in zip(names, colours, strict=True):
            half = bytes([0, 0, 0] * 12)  # upper half black
            archive.writestr(name, b"P6\n6 4\n255\n" + half + bytes(colour) * 12)
    return buffer.getvalue()


def test_signs_are_read_from_folders_and_from_the_list_of_the_test_images(supply):
    training = [
        f"GTSRB/Training/{folder}/00000_00000.ppm" for folder in ("00012", "00002", "00003")
    ]
    test = ["GTSRB/Final_Test/Images/00000.ppm", "GTSRB/Final_Test/Images/00001.ppm"]
    listed = io.BytesIO()
    with zipfile.ZipFile(listed, "w") as archive:
        rows = "Filename;Width;ClassId\n00001.ppm;6;35\n00000.ppm;6;7\n"
        archive.writestr("GT-final_test.csv", rows)
    red, green = (250, 0, 0), (0, 250, 0)
    supply(
        "gtsrb",
        photographs(training, [red, green, red]),
        photographs(test, [red, green]),
        listed.getvalue(),
    )
    data = datasets.load("gtsrb")
    assert data.target.tolist() == ["speed limit 50", "priority road", "ahead only"]
    assert list(data.features.columns[:2]) == ["red_pixel_r0_c0", "red_pixel_r0_c1"]
    assert data.features.shape == (3, 3072)
    images = data.features.to_numpy().reshape(3, 3, 32, 32)
    assert images[:, :, 0].max() == 0  # the upper edge is black
    np.testing.assert_array_equal(images[:, :, -1, 5], [[0, 255, 0], [255, 0, 0], [0, 255, 0]])
    assert datasets.load("gtsrb", part="test").target.tolist() == ["ahead only"]


def photograph(*labels, seed=0):
    """Return a record of CIFAR: labels, then 32x32 pixels of red, of green and of blue."""
    pixels = np.random.default_rng(seed).integers(0, 256, 3072, dtype=np.uint8)
    return bytes(labels) + pixels.tobytes(), pixels.reshape(3, 32, 32)


def test_photographs_of_cifar_come_from_their_part_of_the_archive(supply):
    records = [photograph(label, seed=label) for label in (3, 9, 0, 1, 2, 7)]
    names = registry.find("cifar10").members_of("all")
    members = {name: record for name, (record, _) in zip(names, records, strict=True)}
    shuffled = dict(reversed(members.items())) | {"cifar-10-batches-bin/readme.html": b"x"}
    supply("cifar10", as_tar_gz(shuffled))
    every = datasets.load("cifar10")
    kinds = ["cat", "truck", "airplane", "automobile", "bird", "horse"]
    assert every.target.tolist() == kinds
    assert every.features.columns[1024] == "green_pixel_r0_c0"
    images = every.features.to_numpy().reshape(6, 3, 32, 32)
    np.testing.assert_array_equal(images, [image for _, image in records])
    assert datasets.load("cifar10", part="train").target.tolist() == kinds[:5]
    assert datasets.load("cifar10", part="test").target.tolist() == kinds[5:]
    with pytest.raises(ValueError, match=r"no part 'new'; choose one of \('all', 'train', 'test'"):
        datasets.load("cifar10", part="new")


def test_cifar100_is_read_by_its_coarse_label(supply):
    (train, _), (test, image) = photograph(19, 41), photograph(4, 99, seed=1)
    inside = {"cifar-100-binary/train.bin": train, "cifar-100-binary/test.bin": test}
    supply("cifar100-20", as_tar_gz(inside))
    assert datasets.load("cifar100-20").target.tolist() == ["vehicles 2", "fruit and vegetables"]
    seen = datasets.load("cifar100-20", part="test").features.to_numpy()
    np.testing.assert_array_equal(seen.reshape(3, 32, 32), image)


def test_one_batch_of_cifar_may_come_compressed(supply, monkeypatch):
    record, image = photograph(8)
    folder = supply("cifar10-batch-1", record)
    assert datasets.load("cifar10-batch-1").target.tolist() == ["ship"]
    packed = lzma.compress(record)
    entry = registry.find("cifar10-batch-1")
    checksum = f"sha256:{hashlib.sha256(packed).hexdigest()}"
    copy = dataclasses.replace(entry.files[0].copies[0], checksum=checksum)
    known = dataclasses.replace(entry.files[0], copies=(copy,))
    monkeypatch.setitem(
        registry.ENTRIES, "cifar10-batch-1", dataclasses.replace(entry, files=(known,))
    )
    (folder / known.path).unlink()
    (folder / copy.path).write_bytes(packed)
    seen = datasets.load("cifar10-batch-1").features.to_numpy()
    np.testing.assert_array_equal(seen.reshape(3, 32, 32), image)


def test_every_entry_is_complete():
    for entry in registry.ENTRIES.values():
        assert entry.description, entry.name
        assert entry.source.startswith("http"), entry.name
        assert entry.licence, entry.name
        assert len(entry.shape) == 2, entry.name
        reader = readers.READERS[entry.format]
        given = {"random_state": 0} if entry.seeded else {}
        given |= {"members": []} if entry.members else {}
        inspect.signature(reader).bind([], **entry.options, **given)  # no key unknown, none absent
        for file in entry.files:
            algorithm, digest = file.checksum.split(":")
            assert len(digest) == {"sha256": 64, "md5": 32}[algorithm], file.path
            assert file.url is None or file.url.startswith("http"), file.path


def test_no_two_names_are_alike():
    known = [(alias, e.name) for e in registry.ENTRIES.values() for alias in (e.name, *e.aliases)]
    assert [registry.find(alias).name for alias, _ in known] == [name for _, name in known]


def test_every_name_has_class_counts_to_test():
    assert set(CLASS_COUNTS) == set(registry.names())


# ---------------------------------------------------------------------------------------- documents


def as_tar(path, mode, **members):
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_documents_join_their_columns_and_name_their_classes(tmp_path):
    path = tmp_path / "news.csv"
    path.write_text('"2","A title","Some ""text"", NA"\n"1","NA",""\n')
    columns = ["class", "title", "description"]
    features, target = readers.read_documents(
        [path], columns=columns, text=columns[1:], target="class", classes=["World", "Sports"]
    )
    assert features["text"].tolist() == ['A title Some "text", NA', "NA"]
    assert target.tolist() == ["Sports", "World"]


def test_documents_of_an_archive_are_sampled_class_by_class(tmp_path):
    lines = "".join(f'"{k}","text {k} {i}"\n' for i in range(5) for k in (1, 2)).encode()
    path = as_tar(tmp_path / "a.tar.gz", "w:gz", folder__test=lines)
    options = dict(columns=["class", "text"], text=["text"], target="class", rows_per_class=2)
    drawn = [
        readers.read_documents([path], member="folder/test", random_state=seed, **options)
        for seed in (0, 0, 1)
    ]
    assert [class_counts(target) for _, target in drawn] == [[2, 2]] * 3
    assert drawn[0][0].equals(drawn[1][0])
    assert not drawn[0][0].equals(drawn[2][0])
    for features, target in drawn:
        assert [int(text.split()[1]) for text in features["text"]] == target.tolist()


def test_unquoted_documents_keep_their_quotes(tmp_path):
    path = tmp_path / "short"
    path.write_text('3\tthe "best" of\t\n')
    features, _ = readers.read_documents(
        [path],
        columns=["class", "text"],
        text=["text"],
        target="class",
        separator="\t",
        is_quoted=False,
    )
    assert features["text"].tolist() == ['the "best" of']


def test_folders_of_an_archive_are_classes_and_the_training_part_comes_first(tmp_path):
    path = as_tar(
        tmp_path / "a.tar.xz",
        "w:xz",
        test__b__1=b"new",
        train__b__2="caf\xe9".encode("latin-1"),
        train__a__9=b"first",
        readme=b"",
    )
    features, target = readers.read_folders([path], folders=["train", "test"], encoding="latin-1")
    assert features["text"].tolist() == ["first", "caf\xe9", "new"]
    assert target.tolist() == ["a", "b", "b"]


def test_a_copy_packed_differently_may_be_supplied(tmp_path, monkeypatch):
    content = gzip.compress(b"3\ta text\n", mtime=0)
    entry = registry.find("stackoverflow")
    digest = hashlib.sha256(content).hexdigest()
    copy = dataclasses.replace(entry.files[0].copies[0], checksum=f"sha256:{digest}")
    file = dataclasses.replace(entry.files[0], copies=(copy,))
    monkeypatch.setitem(registry.ENTRIES, entry.name, dataclasses.replace(entry, files=(file,)))
    path = tmp_path / copy.path
    path.parent.mkdir()
    path.write_bytes(content)
    monkeypatch.setenv(files.VARIABLE, os.fspath(tmp_path))
    assert datasets.load("stackoverflow").features["text"].tolist() == ["a text"]
    path.write_bytes(content + b"x")
    with pytest.raises(ValueError, match=r"stackoverflow_true_text\.gz is damaged"):
        datasets.load("stackoverflow")


def test_topic_texts_speak_mostly_of_their_topic():
    texts, topic, words = datasets.make_topic_texts(400, random_state=0)
    said = pd.DataFrame(
        {name: texts.str.count(rf"(?i)\b(?:{'|'.join(w)})\b") for name, w in words.items()}
    )
    assert (said.idxmax(axis=1) == topic.astype(str)).mean() > 0.85
    own = sum(said[name][topic == name].sum() for name in words)
    assert own / said.to_numpy().sum() == pytest.approx(0.45 / 0.55, abs=0.02)
    assert topic.value_counts().tolist() == [100] * 4
    assert sum(map(len, words.values())) == len(set().union(*words.values())) == 64


@pytest.mark.parametrize("arguments", [{"n_texts": 3}, {"n_words": 0}])
def test_impossible_texts_are_refused(arguments):
    with pytest.raises(ValueError, match="give at least 4 texts") as caught:
        datasets.make_topic_texts(**arguments)
    assert_one_line(caught)


# ------------------------------------------------------------------------------------- the command


def test_list_shows_what_is_present_and_missing(supply, capsys):
    supply("haberman", b"30,64,1,1\n")
    assert command.main([]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert set(registry.names()) <= set(lines)
    assert "$WHYCLUSTER_DATA" in lines["haberman"]
    assert "missing" in lines["ecoli"]
    assert "scikit-learn" in lines["iris"]
    assert max(map(len, lines.values())) <= 100


def test_verify_names_damaged_files(supply, capsys):
    path = supply("haberman", b"30,64,1,1\n") / "haberman/haberman.data"
    assert command.main(["--verify"]) == 0
    path.write_bytes(b"")
    assert command.main(["--verify"]) == 1
    assert f"damaged: {path}" in capsys.readouterr().out


def test_fetch_downloads(upstream, tmp_path, capsys):
    upstream(RIGHT, RIGHT)
    assert command.main(["--fetch", "haberman"]) == 0
    assert (tmp_path / "cache/haberman/haberman.data").is_file()
    assert os.fspath(tmp_path) in capsys.readouterr().out


def test_fetch_of_an_unknown_name_is_one_line(capsys):
    assert command.main(["--fetch", "habermann"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


# ------------------------------------------------------------------------------ the synthetic table


@pytest.fixture(scope="module")
def synthetic():
    return datasets.make_idc_synthetic(random_state=0)


def purity(X, y):
    """Accuracy of a cross-validated nearest-neighbour classifier, in [0, 1]."""
    return cross_val_score(KNeighborsClassifier(15), X, y, cv=5).mean()


@pytest.mark.parametrize(("pair", "merged"), [(["x1", "x2"], [2, 3]), (["x1", "x3"], [0, 1])])
def test_each_pair_of_features_separates_only_three_clusters(synthetic, pair, merged):
    X, y, _ = synthetic
    assert purity(X[pair], y.replace(merged[1], merged[0])) > 0.995
    within = y.isin(merged)
    assert purity(X.loc[within, pair], y[within]) < 0.56


def test_three_features_separate_four_clusters_and_noise_none(synthetic):
    X, y, _ = synthetic
    assert purity(X[["x1", "x2", "x3"]], y) > 0.995
    assert purity(X.filter(like="noise"), y) < 0.30


@pytest.mark.parametrize("seed", range(5))
def test_clusters_are_equal_in_size_and_features_in_range(seed):
    X, y, informative = datasets.make_idc_synthetic(random_state=seed)
    assert y.value_counts().tolist() == [800] * 4
    assert X.filter(like="x").min().tolist() == [-1] * 3
    assert X.filter(like="x").max().tolist() == [1] * 3
    np.testing.assert_allclose(X.filter(like="noise").std(), 0.1, rtol=0.06)
    assert informative.shape == (4, X.shape[1])


def test_generator_settings_of_the_authors_are_available():
    X, _, _ = datasets.make_idc_synthetic(noise_scale=0.01, scaling="standard", random_state=0)
    np.testing.assert_allclose(X.filter(like="noise").std(), 0.01, rtol=0.06)
    np.testing.assert_allclose(X.filter(like="x").std(ddof=0), 1)


def test_the_seed_fixes_every_value():
    first, again = (datasets.make_idc_synthetic(random_state=3) for _ in range(2))
    other = datasets.make_idc_synthetic(random_state=4)
    pd.testing.assert_frame_equal(first[0], again[0], check_exact=True)
    assert first[1].equals(again[1])
    assert (first[0] != other[0]).any().all()


@pytest.mark.parametrize(
    "arguments", [{"n_samples": 7}, {"noise_scale": -1}, {"noise_scale": np.nan}, {"scaling": "no"}]
)
def test_settings_out_of_range_are_errors(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"^{name}=.*(give|choose)") as caught:
        datasets.make_idc_synthetic(**arguments)
    assert_one_line(caught)
