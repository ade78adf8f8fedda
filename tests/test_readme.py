"""What the README shows works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_a_snippet_of_the_readme_runs(code: str) -> None:
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names.keys() & {"answer", "simclr", "verdict"}


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)]+)\)", README + (ROOT / "CONTRIBUTING.md").read_text()))
def test_a_link_leads_to_a_file_of_the_repository(path: str) -> None:
    assert path.startswith("https://") or (ROOT / path).exists()


@pytest.mark.parametrize("command", re.findall(r"^make (\w+)", README, re.MULTILINE))
def test_the_commands_of_the_readme_are_targets(command: str) -> None:
    assert re.search(rf"^{command}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
