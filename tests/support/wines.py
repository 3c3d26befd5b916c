"""Many wines in every form that the API takes."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from src.core.wine import FEATURES, TARGET

FIELDS = [feature.field for feature in FEATURES]


def read_wines(csv: Path, count: int = 1000) -> np.ndarray:
    """Return the first wines of the table (count, features)."""
    names = csv.read_text().splitlines()[0].split(",")
    columns = [names.index(feature.name) for feature in FEATURES]
    assert TARGET in names
    return np.loadtxt(csv, delimiter=",", skiprows=1, usecols=columns, max_rows=count)


def to_json(wines: np.ndarray) -> bytes:
    """Return an array of objects."""
    return json.dumps([dict(zip(FIELDS, wine, strict=True)) for wine in wines.tolist()]).encode()


def to_csv_lines(wines: np.ndarray, separator: str = ",") -> bytes:
    """Return lines without a header."""
    return "".join(separator.join(f"{value:g}" for value in wine) + "\n" for wine in wines.tolist()).encode()


def to_csv(wines: np.ndarray, separator: str = ",") -> bytes:
    """Return a header and lines."""
    return separator.join(feature.name for feature in FEATURES).encode() + b"\n" + to_csv_lines(wines, separator)


def to_arrow(wines: np.ndarray, rows: int = 4096, kind: str = "float32", repeat: int = 1) -> bytes:
    """Return an Arrow stream of the wines, ``repeat`` times, in batches of so many rows."""
    columns = {field: pa.array(column.astype(kind)) for field, column in zip(FIELDS, wines.T, strict=True)}
    out = io.BytesIO()
    table = pa.table(columns)
    with pa.ipc.new_stream(out, table.schema) as writer:
        for _ in range(repeat):
            writer.write_table(table, max_chunksize=rows)
    return out.getvalue()
