import configparser
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from runs import ROOT, environment

LINKS = {"losses": ROOT / "losses", "regularizers": ROOT / "regularizers"}
LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "results", "*.egg-info", "__pycache__", "notebooks")


def setup():
    parsed = configparser.ConfigParser()
    parsed.read(ROOT / "setup.cfg")
    return parsed


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """What the wheel holds, built from a copy of the tree by what is installed here, and the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "tree", symlinks=True, ignore=LEFT_OUT)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, folder / "tree"]
    built = subprocess.run(command, env=environment(), cwd=folder, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist()), path


def sources(suffix):
    """Files by the names that they have in the wheel; the two links are seen as the folders they point to."""
    folders = {"ebm": ROOT / "ebm"} | {f"ebm/{name}": folder for name, folder in LINKS.items()}
    found = set()
    for name, folder in folders.items():
        for parent, inside, files in os.walk(folder):
            inside[:] = [
                child for child in inside if child != "__pycache__" and not (Path(parent) / child).is_symlink()
            ]
            place = Path(name) / Path(parent).relative_to(folder)
            found |= {str(place / file) for file in files if file.endswith(suffix)}
    return found


@pytest.mark.slow
def test_the_wheel_holds_every_module_once_below_ebm(wheel):
    names, _ = wheel
    assert {name for name in names if name.endswith(".py")} == sources(".py")
    assert "ebm/losses/push_down.py" in names
    assert "ebm/regularizers/variance.py" in names


@pytest.mark.slow
def test_the_wheel_has_no_package_at_its_top_but_ebm(wheel):
    names, _ = wheel
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"ebm"}


@pytest.mark.slow
def test_the_wheel_holds_the_types_marker_and_the_parts_of_the_report(wheel):
    names, _ = wheel
    assert "ebm/py.typed" in names
    for suffix in (".html", ".css", ".js"):
        assert sources(suffix)
        assert {name for name in names if name.endswith(suffix)} == sources(suffix)


@pytest.mark.slow
def test_the_wheel_names_the_command_and_the_licence(wheel):
    names, path = wheel
    (entry,) = [name for name in names if name.endswith(".dist-info/entry_points.txt")]
    assert any(name.endswith("licenses/LICENSE") for name in names)
    with zipfile.ZipFile(path) as archive:
        assert "ebm = ebm.cli:main" in archive.read(entry).decode()


@pytest.mark.slow
def test_what_is_in_the_wheel_imports_by_itself_under_its_own_names(wheel, tmp_path):
    _, path = wheel
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path)
    code = (
        "import ebm, ebm.cli, ebm.losses, ebm.regularizers\n"
        "print(ebm.__file__, ebm.losses.__file__, ebm.regularizers.__file__)\n"
        "from importlib.resources import files\n"
        "print(files('ebm.study').joinpath('report.html').is_file())"
    )
    command = [sys.executable, "-c", code]
    shown = subprocess.run(
        command, env=environment(PYTHONPATH=str(tmp_path)), cwd=tmp_path, capture_output=True, text=True
    )
    *places, found = shown.stdout.split()
    assert shown.returncode == 0, shown.stderr
    assert all(place.startswith(str(tmp_path / "ebm")) for place in places)
    assert found == "True"


def test_the_list_of_packages_is_that_of_the_folders():
    listed = setup()["options"]["packages"].split()
    folders = {Path(name).parent.as_posix().replace("/", ".") for name in sources("__init__.py")}
    assert len(listed) == len(set(listed))
    assert set(listed) == folders


def test_every_folder_with_modules_is_a_package():
    assert {Path(name).parent for name in sources(".py")} == {Path(name).parent for name in sources("__init__.py")}


@pytest.mark.parametrize("name", LINKS)
def test_a_link_is_relative_and_leads_to_the_folder_at_the_top(name):
    link = ROOT / "ebm" / name
    assert link.is_symlink()
    assert not Path(os.readlink(link)).is_absolute()
    assert link.resolve() == LINKS[name]


@pytest.mark.parametrize("name", LINKS)
def test_the_map_of_folders_agrees_with_the_links(name):
    mapped = dict(line.split(" = ") for line in setup()["options"]["package_dir"].strip().splitlines())
    assert mapped[f"ebm.{name}"] == name
