"""The wheel, the sdist and the editable install hold the whole package."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def folders() -> dict[str, Path]:
    """Every package that the tree holds, by its installed name."""
    mapping = PROJECT["tool"]["setuptools"]["package-dir"]
    found = {}
    for name, folder in mapping.items():
        top = ROOT / folder
        for init in sorted(top.rglob("__init__.py")):
            inner = init.parent.relative_to(top).parts
            found[".".join((name, *inner))] = init.parent
    return found


def sources() -> set[str]:
    """Every module of the tree, as its path inside the wheel."""
    return {
        "/".join((*name.split("."), file.name))
        for name, folder in folders().items()
        for file in folder.glob("*.py")
    }


def test_the_package_list_is_the_tree() -> None:
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(folders())


def test_every_folder_with_modules_is_a_package() -> None:
    for folder in PROJECT["tool"]["setuptools"]["package-dir"].values():
        for file in (ROOT / folder).rglob("*.py"):
            assert (file.parent / "__init__.py").exists(), f"{file.parent} lacks __init__.py"


def test_type_checkers_see_the_same_folders() -> None:
    for name, folder in PROJECT["tool"]["setuptools"]["package-dir"].items():
        link = ROOT / "typings" / Path(*name.split("."))
        target = link / "__init__.py"
        assert target.resolve() == (ROOT / folder / "__init__.py").resolve()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(wheel, sdist) of a clean copy of the tracked and new files."""
    out = tmp_path_factory.mktemp("dist")
    copy = tmp_path_factory.mktemp("tree")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in listed:
        source, target = ROOT / name, copy / name
        if source.is_file() and not source.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)],
        check=True, capture_output=True,
    )  # fmt: skip
    return next(out.glob("*.whl")), next(out.glob("*.tar.gz"))


def test_the_wheel_holds_every_module(built: tuple[Path, Path]) -> None:
    names = set(zipfile.ZipFile(built[0]).namelist())
    assert sources() <= names
    assert "diffsmooth/py.typed" in names
    assert any(n.startswith("diffsmooth/configs/") and n.endswith(".yaml") for n in names)
    assert not [n for n in names if n.startswith(("theory/", "sim/", "llm/", "tests/"))]


def test_the_sdist_can_be_built_from(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    for folder in PROJECT["tool"]["setuptools"]["package-dir"].values():
        assert f"{folder}/__init__.py" in names
    assert {"pyproject.toml", "README.md", "LICENSE"} <= names


def test_the_installed_wheel_answers(built: tuple[Path, Path], tmp_path: Path) -> None:
    """In an environment of its own that sees the dependencies, not the editable install."""
    venv.create(tmp_path / "env", with_pip=False)
    site = next((tmp_path / "env").glob("lib/python*/site-packages"))
    zipfile.ZipFile(built[0]).extractall(site)
    dependencies = [p for p in sys.path if p.endswith("site-packages")]
    code = (
        f"import sys; sys.path += {dependencies!r};"
        "import diffsmooth.cli as c, diffsmooth.theory.rules as r;"
        "print(r.__file__); sys.exit(c.main(['--version']))"
    )
    out = subprocess.run(
        [str(tmp_path / "env/bin/python"), "-c", code], capture_output=True, text=True, check=True,
        cwd=tmp_path,
    )  # fmt: skip
    assert str(site) in out.stdout
    assert "diffsmooth 0." in out.stdout


def test_the_readme_says_what_the_map_says() -> None:
    """Every mean with its interval in the map's paragraph stands in docs/atlas.md."""
    readme, atlas = (ROOT / name for name in ("README.md", "docs/atlas.md"))
    whole = readme.read_text(encoding="utf-8")
    start = whole.index("docs/figures/atlas-survive.png")
    paragraph = whole[start : whole.index("docs/atlas.md", start)]
    found = re.findall(r"([+-]\.\d+) \[(-?\.\d+), (-?\.\d+)\]", paragraph)
    assert len(found) == 3
    page = atlas.read_text(encoding="utf-8")
    for mean, *ends in found:
        low, high = (float(end) for end in ends)
        assert f"{float(mean):+.3f} [{low:+.3f}, {high:+.3f}]" in page
