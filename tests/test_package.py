"""The package as it is built: files, imports, licences, and what the README says of it."""

import ast
import inspect
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import rvcnn
from rvcnn import doctor

ROOT = Path(__file__).resolve().parent.parent
MAPPED = {"rvcnn": "rvcnn", "rvcnn/kernels": "kernels", "rvcnn/cli": "cli"}
TOP_LEVEL = {
    "pyproject.toml",
    "rvcnn",
    "kernels",
    "cli",
    "tests",
    "benchmarks",
    "README.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    ".ci",
    ".gitignore",
}
MODULES = {
    "pillow": {"PIL"},
    "scikit-learn": {"sklearn"},
    "pillow-heif": {"pillow_heif"},
    "Send2Trash": {"send2trash"},
    "onnx": {"onnx", "google", "ml_dtypes"},
}
"""What a package brings to import, where that is not its name alone."""
HEAVY = {"numpy", "PIL", "numba", "pynndescent", "sklearn", "scipy", "llvmlite", "tqdm", "sqlite3"}


GENERATED = re.compile(r"(^|/)(__pycache__|build|dist|\.rvcnn)/|\.egg-info/|\.(py[co]|nb[ic])$")
GIT = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")


def tracked() -> list[str]:
    """Files that git tracks, as paths from the root; those it would, where there is no git."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "-z"]
        listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return [name for name in listing.stdout.split("\0") if name]
    tops = [ROOT / name for name in TOP_LEVEL]
    files = [f for top in tops for f in (top.rglob("*") if top.is_dir() else [top]) if f.is_file()]
    names = [file.relative_to(ROOT).as_posix() for file in files]
    return [name for name in names if not GENERATED.search(name)]


def copy_of_the_tree(folder: Path) -> None:
    for name in tracked():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())


def packaged_name(path: str) -> str | None:
    """Name inside the wheel of a file of the tree, None for one that does not belong there."""
    for package, folder in reversed(MAPPED.items()):
        if path.startswith(f"{folder}/"):
            return package + path[len(folder) :]
    return None


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel built from the files that git tracks, where an older build left something."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    copy_of_the_tree(tree)
    stale = tree / "build" / "lib" / "rvcnn" / "stale.py"
    stale.parent.mkdir(parents=True)
    stale.write_text("")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(out), str(tree)]
    built = subprocess.run(command, capture_output=True, text=True, cwd=out)
    if built.returncode and "No matching distribution" in built.stderr:
        pytest.skip("no setuptools to be had: offline")
    assert built.returncode == 0, built.stderr
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_wheel_holds_the_tree_and_nothing_else(wheel):
    inside = {n for n in wheel.namelist() if ".dist-info/" not in n}
    assert inside == {packaged_name(n) for n in tracked()} - {None}


def test_wheel_carries_both_licences_and_the_embedded_model(wheel):
    names = wheel.namelist()
    assert {Path(n).name for n in names if "/licenses/" in n} == {"LICENSE-MIT", "LICENSE-APACHE"}
    for name in ("mobilenetv3_small_rvcnn.safetensors", "MODEL_CARD.md"):
        assert wheel.read(f"rvcnn/data/{name}") == (ROOT / "rvcnn" / "data" / name).read_bytes()


def test_wheel_metadata(wheel):
    (name,) = [n for n in wheel.namelist() if n.endswith(".dist-info/METADATA")]
    metadata = wheel.read(name).decode()
    assert "License-Expression: MIT OR Apache-2.0" in metadata
    extras = set(re.findall(r"^Provides-Extra: (\S+)$", metadata, re.M))
    assert extras == {"test", "compare", "bench", "parquet", "heif", "onnx", "trash"}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> tarfile.TarFile:
    """The source distribution, built by the backend that pyproject.toml names."""
    tree, out = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("sdist")
    tools = tmp_path_factory.mktemp("tools")
    copy_of_the_tree(tree)
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (requirement,) = re.findall(r'^requires = \["(.*)"\]$', pyproject, re.M)
    command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(tools), requirement]
    got = subprocess.run(command, capture_output=True, text=True, cwd=out)
    if got.returncode and "No matching distribution" in got.stderr:
        pytest.skip("no setuptools to be had: offline")
    assert got.returncode == 0, got.stderr
    script = (
        f"import sys; sys.path[:0] = {[str(tree / '.ci'), str(tools)]!r}\n"
        f"import backend; backend.build_sdist({str(out)!r})"
    )
    built = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tree)
    assert built.returncode == 0, built.stderr
    return tarfile.open(next(out.glob("*.tar.gz")))


def test_source_distribution_holds_the_tree_tests_and_all(sdist):
    inside = {name.partition("/")[2] for name in sdist.getnames() if sdist.getmember(name).isfile()}
    made = {name for name in inside if ".egg-info/" in name} | {"PKG-INFO", "setup.cfg"}
    assert inside - made == set(tracked())


@GIT
def test_top_level_is_fixed():
    assert {name.split("/")[0] for name in tracked()} <= TOP_LEVEL


@GIT
def test_no_generated_file_is_tracked():
    assert [n for n in tracked() if GENERATED.search(n)] == []


def test_tests_are_no_package():
    assert not (ROOT / "tests" / "__init__.py").exists()


def imports_of(path: Path, package: str) -> set[str]:
    """Absolute names of the modules that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: -node.level + 1 or None] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found.add(module)
            found.update(f"{module}.{alias.name}" for alias in node.names)
    return found


def modules() -> list[tuple[Path, str]]:
    """Every source file of the package, with the name of the package it is in."""
    return [
        (ROOT / name, Path(packaged_name(name)).parent.as_posix().replace("/", "."))
        for name in tracked()
        if name.endswith(".py") and packaged_name(name)
    ]


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@pytest.mark.parametrize("path, package", modules(), ids=lambda v: getattr(v, "stem", v))
def test_imports_go_one_way(path, package):
    for name in imports_of(path, package):
        assert not within(name, "kernels") and not within(name, "cli"), name
        if within(package, "rvcnn.kernels"):
            assert not within(name, "rvcnn") or within(name, "rvcnn.kernels"), name
        elif not within(package, "rvcnn.cli") and path.name != "__main__.py":
            assert not within(name, "rvcnn.cli"), name


def test_what_is_imported_is_declared(wheel):
    name = next(n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
    declared = re.findall(r"^Requires-Dist: ([\w-]+)(.*)$", wheel.read(name).decode(), re.M)
    always = {package for package, rest in declared if "extra ==" not in rest}
    assert always == set(doctor.PACKAGES)
    known = set().union(*(MODULES.get(package, {package}) for package, _ in declared))
    imported = {
        name.partition(".")[0] for path, package in modules() for name in imports_of(path, package)
    }
    assert imported - {*sys.stdlib_module_names, "rvcnn"} <= known


def test_the_reading_of_imports_sees_every_kind(tmp_path):
    file = tmp_path / "m.py"
    file.write_text("from . import a\nfrom .b import c\ndef f():\n    import d.e\nfrom .. import g")
    assert imports_of(file, "rvcnn.kernels") == {
        "rvcnn.kernels",
        "rvcnn.kernels.a",
        "rvcnn.kernels.b",
        "rvcnn.kernels.b.c",
        "d.e",
        "rvcnn",
        "rvcnn.g",
    }


@pytest.mark.parametrize(
    "code",
    [
        "import rvcnn",
        "import runpy; sys.argv = ['rvcnn', '--help']; runpy.run_module('rvcnn', alter_sys=True)",
        "import rvcnn.cli; [rvcnn.cli.app.get_command(None, c) for c in rvcnn.cli.COMMANDS]",
    ],
)
def test_light_imports(code, tmp_path):
    script = (
        f"import atexit, sys\nheavy = {HEAVY!r}\n"
        "atexit.register(lambda: print('HEAVY', sorted(heavy & set(sys.modules))))\n" + code
    )
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.endswith("HEAVY []\n")


def test_readers_of_types_see_every_lazy_name_where_it_is():
    tree = ast.parse((ROOT / "rvcnn" / "__init__.py").read_bytes())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.asname: (node.module, alias.name)
        for node in block.body
        for alias in node.names
        if node.level == 1
    }
    homes = {name: (home, name) for name, home in rvcnn._HOMES.items()}
    assert seen == {"onnx": (None, "onnx"), **homes}
    assert "__getattr__" not in {getattr(node, "name", None) for node in tree.body}


def test_every_argument_and_result_of_the_public_names_has_a_type():
    """Where a signature has none, a user's checker takes it for anything at all."""
    bare = []
    for name in rvcnn._HOMES:
        value = getattr(rvcnn, name)
        members = vars(value).items() if isinstance(value, type) else [(name, value)]
        for member, function in members:
            function = getattr(function, "fget", getattr(function, "__func__", function))
            if member.startswith("_") or not inspect.isfunction(function):
                continue
            needed = {p for p in inspect.signature(function).parameters if p not in ("self", "cls")}
            if (needed | {"return"}) - function.__annotations__.keys():
                bare.append(f"{name}.{member}")
    assert bare == []


def test_python_m_rvcnn(tmp_path):
    command = [sys.executable, "-m", "rvcnn", "--version"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert re.fullmatch(r"rvcnn \d+\.\d+\.\d+\n", run.stdout), run.stderr


def test_the_kernels_readme_names_every_file():
    told = (ROOT / "kernels" / "README.md").read_text(encoding="utf-8")
    files = {path.name for path in (ROOT / "kernels").glob("*.py")} - {"__init__.py"}
    assert {name for name in files if f"`{name}`" not in told} == set()
