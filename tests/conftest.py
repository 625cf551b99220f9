"""Fixtures shared by the tests; with MLPQ_FORBID_SKIPS=1 a skipped test is a failed one."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest

import mlpq
from mlpq import datasets

ROOT = Path(__file__).parent.parent


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("MLPQ_FORBID_SKIPS") == "1":
        report.outcome = "failed"
        report.longrepr = f"skipped, which MLPQ_FORBID_SKIPS forbids: {call.excinfo.value if call.excinfo else ''}"
    return report


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests away from the user's cache."""
    monkeypatch.setattr(datasets, "cache_folder", lambda: tmp_path_factory.getbasetemp() / "cache")


@pytest.fixture(scope="session")
def ds() -> mlpq.Dataset:
    """The embedded data set."""
    return mlpq.load_dataset("fashion-mnist-20k")


@pytest.fixture(scope="session")
def full_folder() -> Path:
    """The folder with the full Fashion-MNIST, whose tests take a minute more: only where MLPQ_DATA_DIR asks for them."""
    folder = Path(os.environ.get("MLPQ_DATA_DIR", "/nonexistent"))
    file = datasets.HDF5_FILES["fashion-mnist"]
    if (folder / file).is_file() or all((folder / idx).is_file() for idx in datasets.IDX_SHA256):
        return folder
    pytest.skip("needs the full Fashion-MNIST in the folder that MLPQ_DATA_DIR names")


@pytest.fixture(scope="session")
def trained(ds: mlpq.Dataset) -> dict[str, mlpq.MultiLevelPQ]:
    """One index for each codebook owner over the embedded data set, as in the tour."""
    return {
        owner: mlpq.MultiLevelPQ(ds.d, 32, 6, codebooks=owner, keep_originals=True).train(ds.xb).add(ds.xb)
        for owner in ("global", "outer", "inner")
    }
