"""The documentation as a site: made without a warning, every page in its place, and its first steps run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("forked_roles")

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site of this tree; Sphinx takes no warning."""
    out = tmp_path_factory.mktemp("site")
    options = ["-q", "-W", "--keep-going", "-E", "-d", str(out / "doctrees")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(DOCS), str(out / "html")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out / "html"


def test_every_page_is_in_the_site(site):
    pages = {p.relative_to(DOCS).with_suffix("") for p in [*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")]}
    assert len(pages) > 60
    assert not [str(p) for p in pages if not (site / p).with_suffix(".html").is_file()]


def test_the_site_has_the_pages_of_the_root_every_command_and_every_function(site):
    import securegen as sg
    from securegen.cli.main import COMMANDS

    for page, words in (("changelog", "Migration"), ("contributing", "ruff"), ("security", "passphrase")):
        assert words in (site / "develop" / f"{page}.html").read_text()
    commands = (site / "reference" / "commands.html").read_text()
    assert not [name for name in COMMANDS if f'id="securegen-{name}"' not in commands]
    api = (site / "reference" / "api.html").read_text()
    functions = [n for n in sg.__all__ if callable(getattr(sg, n))]
    assert len(functions) > 20 and not [n for n in functions if f'id="securegen.{n}"' not in api]


def test_cells_of_a_table_know_their_column_so_that_a_row_can_be_a_card(site):
    page = (site / "explanation" / "security.html").read_text()
    for name in ("party", "gains by deviating", "must not collude with"):
        assert f'<td data-label="{name}">' in page
    assert "attr(data-label)" in (site / "_static" / "lines.css").read_text()


def test_outputs_of_a_notebook_are_shown(site):
    notebook = json.loads((DOCS / "notebooks" / "first-study.ipynb").read_text())
    text = (site / "notebooks" / "first-study.html").read_text()
    assert any(
        "identical to the plain engine: True" in "".join(o["text"])
        for c in notebook["cells"]
        for o in c.get("outputs", [])
    )
    assert "identical to the plain engine: True" in text
