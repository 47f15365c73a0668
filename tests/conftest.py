"""What every test shares: a store of models and a cache of the suite's own, and where the recordings are."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent

# Set before anything is imported that reads them, and for every process the tests start.
os.environ["STREAMLATION_DATA_DIR"] = str(ROOT / ".pytest_cache" / "streamlation-data")
for name in [name for name in os.environ if name.startswith("STREAMLATION_") and name != "STREAMLATION_DATA_DIR"]:
    del os.environ[name]
for name in ("COLUMNS", "LINES"):  # of no terminal that a test makes; pytest-xdist tells its workers of its own
    os.environ.pop(name, None)


# A shell that starts the suite in the background has it ignore SIGINT, and so would every process that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is not what is examined, and says most about what else the machine does.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")

collect_ignore = ["live_system.py", "rtsp_server.py"]
"""Programs that tests start, not modules with doctests."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test starts with an empty cache and no user profiles."""
    folder = tmp_path_factory.mktemp("xdg")
    monkeypatch.setenv("STREAMLATION_CACHE_DIR", str(folder / "cache"))
    monkeypatch.setenv("STREAMLATION_CONFIG_DIR", str(folder / "config"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real recordings; a test that needs it is skipped where it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "speech" / "manifest.json").is_file():
        pytest.skip("the recordings in ../shared are not here")
    return folder


@pytest.fixture(scope="session")
def samples() -> Path:
    """The bundled recordings."""
    return ROOT / "testdata" / "audio"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--regenerate` writes the golden cases anew."""
    parser.addoption("--regenerate", action="store_true", help="write the golden cases as the program is now")
