"""Execute the notebook from its first cell, and keep what is content: ``python notebooks/execute.py``.

The outputs stay, without the times and paths that belong to one machine; the picture of the README is the output of
the cell tagged ``readme-picture``.
"""

import argparse
import base64
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
import papermill

NOTEBOOK = Path(__file__).with_name("Models selection experiment.ipynb")
PICTURE = NOTEBOOK.parent.parent / "assets" / "duplicates.png"
PICTURE_TAG = "readme-picture"


def execute(folder: Path, notebook: Path, picture: Path) -> None:
    """Run ``NOTEBOOK`` in ``folder``; write it with its outputs to ``notebook`` and its picture to ``picture``.

    Raises:
        papermill.PapermillExecutionError: a cell failed.

    """
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # a shell's own would keep pictures back
    with TemporaryDirectory() as temporary:
        executed = Path(temporary) / "executed.ipynb"
        papermill.execute_notebook(
            NOTEBOOK,
            executed,
            cwd=folder,
            kernel_name="python3",
            progress_bar=False,
            iopub_timeout=60,  # seconds; after the default of 4, a busy machine's late outputs would be dropped
            raise_on_iopub_timeout=True,
        )
        content = clean(nbformat.read(executed, as_version=4))
    nbformat.write(content, notebook)
    picture.parent.mkdir(exist_ok=True)
    picture.write_bytes(read_picture(content))


def clean(content: Any) -> Any:
    """Leave only what a reader of the notebook needs: no times, no paths, no log on stderr."""
    content.metadata = {name: content.metadata[name] for name in ("kernelspec", "language_info")}
    for cell in content.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = {"tags": tags} if tags else {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return content


def read_picture(content: Any) -> bytes:
    """Return the PNG of the cell that is tagged as the README's."""
    (cell,) = [cell for cell in content.cells if PICTURE_TAG in cell.metadata.get("tags", [])]
    (picture,) = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
    return base64.b64decode(picture)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Execute the notebook, and save it with its outputs and its picture.")
    parser.add_argument("--into", type=Path, help="a folder that gets both instead of the project")
    into = parser.parse_args().into
    execute(NOTEBOOK.parent, into / NOTEBOOK.name if into else NOTEBOOK, into / PICTURE.name if into else PICTURE)
