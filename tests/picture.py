"""The picture of an explorer that README shows, from the book in `_build/html`: `make picture`."""

import sys

from playwright.sync_api import sync_playwright

from tests.conftest import FLAGS, ROOT, chromium


def main(path: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS.split())
        page = browser.new_page(viewport={"width": 1280, "height": 900}, device_scale_factor=1.5)
        page.goto((ROOT / "_build" / "html" / "book" / "product-quantization.html").as_uri(), wait_until="networkidle")
        page.locator('.mlpq-explorer[data-explorer="codec"]').screenshot(path=path)


if __name__ == "__main__":
    main(sys.argv[1])
