"""Code of README.md and docs/ that tests run."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def block(marker: str, language: str) -> str:
    """Return the code block after ``<!-- marker -->``, which one page has."""
    pattern = rf"<!-- {re.escape(marker)} -->\n+```{language}\n(.*?)```"
    (found,) = [code for page in PAGES for code in re.findall(pattern, page.read_text(), re.DOTALL)]
    return found
