"""The site that `make docs` builds: strict about links, with every page in a menu, and lists that are lists."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

pytest.importorskip("mkdocs", reason="mkdocs is not installed: make docs")


def built(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a checkout."""
    config = root / "tools" / "docs" / "mkdocs.yml"
    line = [sys.executable, "-m", "mkdocs", "build", "--config-file", config, "--site-dir", site]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = built(ROOT, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_and_every_file_that_pages_link_to_is_in_the_site(site: Path) -> None:
    pages = {page.stem for page in ROOT.glob("docs/*.md")}
    assert {page.stem for page in site.glob("*.html")} == {*pages, "404"}
    for file in ("nightly/nightly.sh", "manifests/quickstart.toml", "examples/deliver.py"):
        assert (site / file).is_file()


def test_lists_and_tables_are_not_run_together(site: Path) -> None:
    for page in site.glob("*.html"):
        for paragraph in re.findall(r"<p>(.*?)</p>", page.read_text(encoding="utf-8"), re.S):
            assert not re.search(r"^(- |\d\. |\|)", paragraph, re.M), f"{page.name}: {paragraph}"


def test_a_broken_link_and_a_page_in_no_menu_fail(tmp_path: Path) -> None:
    for folder in ("docs", "tools/docs", "manifests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("dist", "cache", "__pycache__"))
    glossary = tmp_path / "docs" / "glossary.md"
    glossary.write_text(glossary.read_text() + "\n[gone](keys.md#gone), [file](../manifests/gone.toml)\n")
    (tmp_path / "docs" / "lost.md").write_text("# Lost\n")
    done = built(tmp_path, tmp_path / "site")
    assert done.returncode == 1
    for told in ("keys.md#gone", "../manifests/gone.toml", "lost.md"):
        assert told in done.stdout + done.stderr
