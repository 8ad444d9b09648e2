"""What every test shares: the installed package, the test data, and two rules for the whole run.

The checkout's root is kept off ``sys.path`` so that the tests see the installed package: in the
checkout ``kernels/`` and ``cli/`` lie beside ``rvcnn/``, where they are not importable as
``rvcnn.kernels`` and ``rvcnn.cli``.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path[:] = [p for p in sys.path if Path(p or os.getcwd()).resolve() != ROOT]

DATA = Path(os.environ.get("RVCNN_TEST_DATA") or ROOT.parent / "shared" / "data").resolve()


@pytest.fixture(scope="session", autouse=True)
def outside_the_checkout(tmp_path_factory) -> Iterator[None]:
    """Run all tests, and so their child processes, where ``./rvcnn`` is not the checkout's."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("outside"))
    yield
    os.chdir(before)


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of the test data (read-only); tests that need it are skipped without it."""
    if not DATA.is_dir():
        pytest.skip(f"no test data: set RVCNN_TEST_DATA (looked in {DATA})")
    return DATA


@pytest.fixture(scope="session")
def compiled() -> None:
    """Compile the kernels, so that no command says that it does."""
    import rvcnn
    from rvcnn.warmup import warmup

    warmup(rvcnn.Embedder())


@pytest.fixture(scope="session")
def indexed(compiled, tmp_path_factory) -> Path:
    """A folder ``photos`` with six pictures and an index. Not to be changed."""
    from cli_checks import make_photos, run_ok

    folder = tmp_path_factory.mktemp("cli") / "photos"
    make_photos(folder)
    run_ok("embed", folder)
    return folder


@pytest.fixture
def photos(indexed, tmp_path, monkeypatch) -> Path:
    """A copy of that folder, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    shutil.copytree(indexed, "photos")
    return Path("photos")


@pytest.fixture(scope="session")
def onnxruntime():
    """ONNX Runtime, to compare with."""
    return pytest.importorskip("onnxruntime", reason="the extra `compare`")


@pytest.fixture(scope="session")
def torch():
    """PyTorch, to compare with."""
    return pytest.importorskip("torch", reason="the extra `compare`")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what asks for another engine as a comparison."""
    for item in items:
        if not {"onnxruntime", "torch"}.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("compare")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test fails the run")


def broken_rules(session: pytest.Session) -> list[str]:
    """What is wrong with this run although its tests passed."""
    broken = [
        f"`{name}` was imported as a top-level package; it is `rvcnn.{name}`"
        for name in ("kernels", "cli")
        if name in sys.modules
    ]
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = len(reporter.stats.get("skipped", ())) if reporter else 0
    if skipped and session.config.getoption("--no-skips"):
        broken.append(f"{skipped} skipped, and --no-skips was given")
    return broken


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    broken = broken_rules(session)
    for line in broken:
        print(f"\nERROR: {line}", file=sys.stderr)
    if broken and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
