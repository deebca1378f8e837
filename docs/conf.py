"""How Sphinx makes a site of these pages: `make docs`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import docutils.nodes
from bs4 import BeautifulSoup
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.application import Sphinx

import securegen
from securegen.version import VERSION

ROOT = Path(__file__).resolve().parent.parent

project = "securegen"
author = "the authors of securegen"
copyright = f"2026, {author}"
release = version = VERSION

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
source_suffix = {".md": "markdown", ".ipynb": "notebook"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nitpicky = False

html_theme = "furo"
html_title = f"securegen {VERSION}"
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["lines.css"]
smartquotes = False  # --flag is no dash

default_role = "code"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"

# Pages in the root of the repository, and where the site has them.
OF_THE_ROOT = {
    "README.md": "/index.md",
    "SECURITY.md": "/develop/security.md",
    "CONTRIBUTING.md": "/develop/contributing.md",
    "CHANGELOG.md": "/develop/changelog.md",
}


class NotebookParser(MystParser):
    """A notebook as a page: its text, its code, and the outputs that are stored in it."""

    supported = ("notebook",)

    def parse(self, inputstring: str, document: docutils.nodes.document) -> None:
        page = []
        for cell in json.loads(inputstring)["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                page.append(source)
                continue
            page.append(f"```python\n{source}\n```")
            page += ["```text\n" + "".join(o["text"]).rstrip() + "\n```" for o in cell["outputs"]]
        super().parse("\n\n".join(page), document)


def escape_bars(_app: Sphinx, _context: object, lines: list[str]) -> None:
    """|x| in a help text is no substitution."""
    lines[:] = [line.replace("|", r"\|") for line in lines]


def join_the_root(_app: Sphinx, name: str, source: list[str]) -> None:
    """Pages of the repository's root are pages of the site, and links to them lead there."""
    own = [file for file, page in OF_THE_ROOT.items() if page == f"/{name}.md" and name != "index"]
    if own:
        text = re.sub(r"\[([^\]]*)\]\(LICENSE\)", r"\1", (ROOT / own[0]).read_text())
        source[0] = text.replace("](docs/", "](/")
    for file, page in OF_THE_ROOT.items():
        source[0] = re.sub(rf"\]\((?:\.\./)*{re.escape(file)}", f"]({page}", source[0])


def functions_of(module: ModuleType) -> list[str]:
    """Of a module's public names those that are functions; without __all__, those that it defines itself."""
    own = [n for n, v in vars(module).items() if n[0] != "_" and getattr(v, "__module__", "") == module.__name__]
    return sorted(n for n in getattr(module, "__all__", own) if isinstance(getattr(module, n), FunctionType))


def list_names(_app: Sphinx, name: str, source: list[str]) -> None:
    """The page of signatures has every public name: of a module, its functions."""
    if name != "reference/api":
        return
    for public in sorted(n for n in securegen.__all__ if n != "__version__"):
        found = getattr(securegen, public)
        if isinstance(found, ModuleType):
            directives = [f".. autofunction:: {found.__name__}.{n}" for n in functions_of(found)]
        elif isinstance(found, type):
            directives = [f".. autoclass:: securegen.{public}\n   :members:"]
        else:
            directives = [f".. autofunction:: securegen.{public}"]
        source[0] += f"\n## `sg.{public}`\n\n```{{eval-rst}}\n" + "\n\n".join(directives) + "\n```\n"


def label_cells(_app: Sphinx, _name: str, _template: str, context: dict[str, Any], _doctree: object) -> None:
    """Every cell of a table knows the name of its column, which `lines.css` shows where a row is a card."""
    page = BeautifulSoup(context.get("body", ""), "html.parser")
    for table in page.find_all("table"):
        names = [head.get_text(" ", strip=True) for head in table.select("thead th")]
        for row in table.select("tbody tr"):
            for name, cell in zip(names, row.find_all("td", recursive=False), strict=False):
                cell["data-label"] = name
    if page.table:
        context["body"] = str(page)


def setup(app: Sphinx) -> None:
    app.add_source_parser(NotebookParser)
    app.connect("source-read", join_the_root)
    app.connect("source-read", list_names)
    app.connect("html-page-context", label_cells)
    app.connect("sphinx-click-process-options", escape_bars)
