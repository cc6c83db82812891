"""Reading a CSV file of 200,000 rows and 20 columns: as pandas does it, and as `read` does.

`read` leaves text as it is written, finds encoding, separator and header, and checks every record.
Each way runs in a process of its own, since memory is the growth of the process at its largest.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

N_ROWS, N_COLUMNS = 200_000, 20
WAYS = {
    "pandas.read_csv, numbers": "pd.read_csv(path)",
    "pandas.read_csv, text": "pd.read_csv(path, dtype=str, keep_default_na=False)",
    "read, text": "read(path)",
    "read, numbers": "read(path)",
}
CODE = """
import resource, sys, time
import pandas as pd
from whycluster.table import read
path, small = sys.argv[1:]
{way_small}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
table = {way}
seconds = time.perf_counter() - start
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(seconds, grown / 1024)
"""


def write(path, n_rows):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(n_rows, N_COLUMNS)).round(4)).add_prefix("x")
    table["x3"] = rng.choice(["red", "blue", "green"], n_rows)
    table["x4"] = rng.integers(0, 1000, n_rows)
    table.to_csv(path, index=False)


def measure(way, path, small):
    """Return seconds and MB; a small file is read first, so that imports are not counted."""
    code = CODE.format(way=way, way_small=way.replace("path", "small"))
    done = subprocess.run(
        [sys.executable, "-c", code, path, small], capture_output=True, text=True, check=True
    )
    return map(float, done.stdout.split())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path, small = Path(folder) / "table.csv", Path(folder) / "small.csv"
        write(path, N_ROWS)
        write(small, 100)
        size = path.stat().st_size / 2**20
        print(f"{N_ROWS:,} rows, {N_COLUMNS} columns, {size:.0f} MB")
        for name, way in WAYS.items():
            runs = [tuple(measure(way, path, small)) for _ in range(3)]
            seconds, grown = min(run[0] for run in runs), min(run[1] for run in runs)
            print(f"{name:26} {seconds:6.2f} s {grown:6.0f} MB more, {grown / size:.1f} x the file")
