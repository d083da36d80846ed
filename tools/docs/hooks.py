"""What mkdocs does beyond its settings: files that pages link to outside of docs/ become part of the site."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
_OUTSIDE = re.compile(r"\]\(\.\./([^)#\s]+)")


def on_files(files: Files, *, config: Any) -> Files:
    """Add the files of the repository that pages link to; a link to one that is not there stays as it is, and fails."""
    for page in files.documentation_pages():
        for name in _OUTSIDE.findall(page.content_string):
            if (ROOT / name).is_file() and name not in files.src_uris:
                files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, *, files: Files, **_: Any) -> str:
    """Point links out of docs/ to those files."""
    return _OUTSIDE.sub(lambda found: f"]({found[1]}" if found[1] in files.src_uris else found[0], markdown)
