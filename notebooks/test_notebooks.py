"""Every notebook runs."""

from pathlib import Path

import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient

HERE = Path(__file__).parent


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", sorted(HERE.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs_from_its_first_cell_to_its_last(path, tmp_path):
    # Sockets of the file system: of two kernels that start together both may be given the same free port.
    kernel = AsyncKernelManager(transport="ipc", ip=str(tmp_path / "kernel"))
    where = {"metadata": {"path": path.parent}}
    NotebookClient(nbformat.read(path, as_version=4), km=kernel, timeout=300, resources=where).execute(cleanup_kc=True)
