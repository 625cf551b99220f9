"""What the Lab foretells from 20,000 rows of the full sets, held against the index that its own lines of Python build."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

import mlpq
from mlpq import widgets
from mlpq.data import named
from tests.conftest import FullSet, patient_page
from tests.kernel import page_of
from tests.lab import MINUTES, built, chosen, report_of

NQ = 2000  # queries
TARGETS = {"fashion-mnist": 0.9, "wordnet": 0.45}  # with originals, and by codes alone
BEYOND = {
    "fashion-mnist": "Codes of 16 bytes, 8 bits",
    "wordnet": "Codes of 16 bytes, 4 bits",
}  # what is no longer measured


@pytest.fixture(scope="module")
def page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    path = tmp_path_factory.mktemp("lab") / "lab.html"
    path.write_text(page_of(widgets.Lab()))
    with patient_page(browser) as opened:
        opened.goto(path.as_uri())
        yield opened


def advised(page: Page, path: Path, name: str) -> dict[str, Any]:
    """Give the Lab a file, and stop it when codes are measured that will do; return its advice for a recall."""
    lab = page.locator(".lab")
    chosen(lab, path)
    expect(lab.locator(".status")).to_contain_text(BEYOND[name], timeout=60_000 * MINUTES)
    lab.get_by_role("button", name="Cancel").click()
    _, ram, recall = lab.locator("input[type=number]").all()
    ram.fill("1000")
    recall.fill(str(TARGETS[name]))
    advice: dict[str, Any] = report_of(page)["advice"]
    return advice


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_advised_for_a_full_set_holds(
    page: Page, full_folder: Path, full_set: FullSet, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines shown are run as they are where the file lies: recall is not below the interval stated."""
    if name == "wordnet" and not (full_folder / named.WORDNET).is_file():
        pytest.skip("needs the full WordNet in the folder that MLPQ_DATA_DIR names")
    monkeypatch.chdir(tmp_path)
    ds = full_set(name)
    np.save("vectors.npy", ds.xb.astype(np.uint8 if name == "fashion-mnist" else np.float16))  # as they came
    advice = advised(page, tmp_path / "vectors.npy", name)
    assert advice["reached"]
    assert advice["asked"]["N"] == len(ds.xb)
    found = built(advice["lines"]["mlpq"], ds.xq[:NQ])
    assert mlpq.recall_at_k(found["I"], ds.gt[:NQ], 10) >= advice["best"]["low"]
