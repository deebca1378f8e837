"""The documentation is run: examples execute, tables equal the code, links and names resolve, what is gone is told."""

import ast
import doctest
import importlib
import json
import re
import tomllib
from collections import Counter
from pathlib import Path

import click
import pytest
import test_architecture as architecture
from page_walk import FENCE, NAMED, blocks, walked

import securegen as sg
from securegen import errors, vocabulary
from securegen.catalogue import TESTS
from securegen.cli.former import former_flags
from securegen.cli.main import main
from securegen.version import VERSION

ROOT = Path(__file__).resolve().parent.parent


def page_named(name: str) -> Path:
    """A page of the documentation, in whichever chapter it stands."""
    (found,) = (ROOT / "docs").rglob(f"{name}.md")
    return found


PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
WITH_EXAMPLES = [p for p in PAGES if ">>> " in p.read_text()]
ABOUT_ASSOCIATION = [
    ROOT / "README.md", ROOT / "SECURITY.md",
    *(page_named(name) for name in (
        "files-and-formats", "tables", "precision", "scaling", "verification", "threat-model", "linear", "score-test",
        "trend", "allelic", "quality-control", "phenotypes", "missing-genotypes", "low-mac", "report",
    )),
]  # fmt: skip

SOURCES = ("docs", "securegen", "tests", "protocols", "benchmarks", "examples")
WRITTEN = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(p for folder in SOURCES for p in (ROOT / folder).rglob("*"))]
    if path.suffix in {".md", ".py", ".ipynb", ".toml", ".sh"} and path.name != "CHANGELOG.md"
)
LANGUAGES = {
    "sh": "walked", "python": "walked", "text": "compared", "toml": "written, or parsed", "pycon": "test_docs.py",
    "diff": "test_develop.py", "json": "test_examples.py", "{toctree}": "test_site.py", "{eval-rst}": "test_site.py",
}  # fmt: skip
NOT_RUN = {  # why a block is not run, and how many may say so
    "installs from a package index, which tests do not reach": 5,
    "the tests themselves": 4,
    "needs a finding of an earlier run": 1,
    "an hour": 1,
    "forty minutes of an idle machine": 1,
}
COMMAND = re.compile(r"^ {4,}(?:\$ )?(?:securegen|python3?|pip|make|snakemake|plink2?|\.venv/bin/\w+) ", re.MULTILINE)
FILES = {p.name for p in ROOT.rglob("*.py") if ".venv" not in p.parts}
NO_MODULE = {"securegen.fish"}  # a file of completions
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
BEFORE = json.loads((ROOT / "tests" / "interface-0.1.0.json").read_text())


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """An empty working directory that sees the repository's examples."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def test_every_block_is_run_or_says_why_not():
    """By the walk of its page, or by the test that its language or its comment names; what nothing runs is counted."""
    assert len(PAGES) > 70
    reasons: Counter[str] = Counter()
    for page in PAGES:
        found = COMMAND.search(FENCE.sub("", page.read_text()))
        assert not found, f"{name_of(page)}: a command outside of a block: {found[0]}"
        for block in blocks(page):
            assert block.language in LANGUAGES, f"{name_of(page)}: nothing runs {block.language!r}: {block.text}"
            assert walked(page) or block.language not in ("text", "toml"), f"{name_of(page)}: compared with nothing"
            if block.run_by:
                words = re.findall(r"[\w.-]{8,}", block.text)
                text = (ROOT / block.run_by).read_text()
                assert any(word in text for word in words), f"{name_of(page)}: {block.run_by} does not run {block.text}"
            if block.not_run:
                reasons[block.not_run] += 1
            if block.language == "toml" and not NAMED.match(block.text):
                tomllib.loads(block.text)
    assert reasons == NOT_RUN, "say why a block is not run in words that stand here; each is one that nobody tries"


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=name_of)
def test_examples_of_a_page_run(page, repository):
    failed, attempted = doctest.testfile(str(page), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert attempted and not failed


def test_pages_with_examples_are_found():
    assert {"docs/reference/python-api.md", "docs/explanation/noise.md", "docs/explanation/scaling.md"} <= set(
        map(name_of, WITH_EXAMPLES)
    )


def options_of(command: click.Command) -> set[str]:
    return {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help", "--version"}


def all_options(command: click.Command, context: click.Context) -> set[str]:
    found = options_of(command)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found |= all_options(command.get_command(context, name), context)
    return found


@pytest.mark.parametrize("page", ABOUT_ASSOCIATION, ids=name_of)
def test_flags_named_in_prose_exist(page):
    """A flag in backquotes is one of the command line's."""
    known = all_options(main, click.Context(main))
    named = set(re.findall(r"`(?:[\w ]+ )?(--[a-z0-9-]+)[^`]*`", page.read_text()))
    assert named <= known, f"{name_of(page)}: {sorted(named - known)}"


def test_exit_code_table_is_that_of_the_code():
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.SecuregenError)]
    expected = [
        (str(c.exit_code), c.__name__, c.__doc__.splitlines()[0]) for c in sorted(classes, key=lambda c: c.exit_code)
    ]
    text = (ROOT / "docs" / "reference" / "exit-codes.md").read_text()
    assert re.findall(r"^\| (\d+) \| `(\w+)` \| (.*) \|$", text, re.MULTILINE) == expected
    assert len({code for code, _, _ in expected}) == len(expected)


def test_every_public_function_has_its_place_in_the_python_page():
    page = (ROOT / "docs" / "reference" / "python-api.md").read_text()
    assert not [name for name in sg.__all__ if not re.search(rf"\b{name}\b", page)]


def test_examples_of_the_command_line_page_name_commands_and_flags():
    """Lines that start with securegen parse; the file of options is one that its command accepts."""
    known = all_options(main, click.Context(main))
    for page in ("command-line", "pipelines"):
        text = page_named(page).read_text()
        named = set(re.findall(r"(?:`(?:[\w ]+ )?| )(--[a-z][a-z0-9-]+)", text)) - {
            "--snakefile",
            "--directory",
            "--cores",
            "--mem",
            *("--workflow-profile", "--slurm-status-command"),
            *("--time", "--user", "--volume", "--extra", "--require-hashes", "--no-deps"),
        }
        assert named and named <= known, sorted(named - known)
    one, several = (b.text for b in blocks(ROOT / "docs" / "reference" / "command-line.md") if b.language == "toml")
    shared = {k: v for k, v in tomllib.loads(several).items() if not isinstance(v, dict)}
    for word, own in tomllib.loads(several).items():
        if isinstance(own, dict):
            flags = options_of(main.get_command(click.Context(main), word))
            assert {f"--{key}" for key in own} <= flags
            shared = {k: v for k, v in shared.items() if f"--{k}" not in flags}
    assert not shared
    options = tomllib.loads(one)
    command = main
    for word in options.pop("command").split():
        command = command.get_command(click.Context(main), word)
    assert {f"--{key}" for key in options} <= options_of(command)


def test_every_column_and_error_code_is_explained():
    text = (ROOT / "docs" / "reference" / "tables.md").read_text()
    words = set(re.findall(r"`([^`]+)`", text))
    columns = {c for t in TESTS.values() for c in t.columns}
    codes = {
        vocabulary.OK, vocabulary.ALL_MISSING, vocabulary.CONST_OMITTED_ALLELE, vocabulary.CORR_TOO_HIGH,
        vocabulary.VIF_TOO_HIGH, vocabulary.TOO_FEW_SAMPLES, vocabulary.PERFECT_FIT, vocabulary.ZERO_CELL,
        vocabulary.LOW_MAC,
    }  # fmt: skip
    assert columns | codes <= words


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_resolve(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.is_file() and there.is_relative_to(ROOT), f"{name_of(page)}: {target}"
        assert not anchor or anchor in anchors(there), f"{name_of(page)}: {target}"


def test_every_page_can_be_reached_from_the_readme():
    seen, queue = set(), [ROOT / "README.md"]
    while queue:
        page = queue.pop()
        if page not in seen and page.suffix == ".md":
            seen.add(page)
            targets = re.findall(r"\]\(([^)\s:#]+)(?:#[^)]*)?\)", page.read_text())
            queue += [(page.parent / t).resolve() for t in targets if not t.startswith("http")]
    unreached = set(PAGES) - seen
    assert not unreached, f"not linked: {sorted(map(name_of, unreached))}"


def test_commands_of_the_readme_are_make_targets():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^    make (\w+)$", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def prose(path: Path) -> str:
    """A page, without the blocks that test_develop.py runs; of a Python file its docstrings and comments."""
    text = path.read_text()
    if path.match("docs/develop/add-*.md"):
        return re.sub(r"^```\w+\n.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    if path.suffix != ".py":
        return text
    with_text = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = [ast.get_docstring(n) or "" for n in ast.walk(ast.parse(text)) if isinstance(n, with_text)]
    return "\n".join([*docstrings, *re.findall(r"#.*", text)])


def names_of(text: str) -> set[str]:
    """Dotted names of the package, and what an import takes of it."""
    found = set(re.findall(r"\bsecuregen(?:\.[A-Za-z_]\w*)+", text))
    for module, names in re.findall(r"from (securegen[\w.]*) import \(?([\w, ]+)", text):
        found |= {f"{module}.{name.split(' as ')[0].strip()}" for name in names.split(",") if name.strip()}
    return found


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_dotted_names_in_prose_resolve():
    assert resolves("securegen.errors.InputError") and not resolves("securegen.errors.NoSuchError")
    named = {(p, n) for p in WRITTEN for n in names_of(prose(p))}
    assert len(named) > 20
    lost = sorted(f"{p.relative_to(ROOT)}: {n}" for p, n in named if n not in NO_MODULE and not resolves(n))
    assert not lost, "names that do not exist: " + "; ".join(lost)


def test_files_named_in_prose_exist():
    """With a folder: from the root, the package or the page's own; alone: somewhere in the repository."""
    lost = []
    for page in WRITTEN:
        text = prose(page)
        bases = (ROOT, ROOT / "securegen", page.parent)
        paths = set(re.findall(r"(?<![\w/.])(?:[\w-]+/)+[\w-]+\.(?:py|md)\b", text))
        lost += [f"{page.relative_to(ROOT)}: {p}" for p in paths if not any((base / p).exists() for base in bases)]
        alone = set(re.findall(r"(?<![\w/-])[a-z_]\w*\.py\b", text))
        lost += [f"{page.relative_to(ROOT)}: {name}" for name in alone if name not in FILES]
    assert not lost, "files that do not exist: " + "; ".join(sorted(lost))


def test_tests_named_in_prose_exist():
    """A file, two colons and a test name a test of that file; `test_name` one of any file, `test_begin…` one that begins so."""
    files = [p for part in ("tests", "benchmarks") for p in (ROOT / part).rglob("test_*.py")]
    all_tests = {name for p in files for name in re.findall(r"^def (test_\w+)\(", p.read_text(), re.MULTILINE)}
    stems, lost, count = {p.stem for p in files}, [], 0
    for page in PAGES:
        text = page.read_text()
        for file, test in re.findall(r"(tests/[\w/]+\.py)::(\w+)", text):
            count += 1
            if f"def {test}(" not in (ROOT / file).read_text():
                lost.append(f"{name_of(page)}: {file}::{test}")
        for test, cut in re.findall(r"`(test_\w+)(…?)`", text):
            count += 1
            if not (any(t.startswith(test) for t in all_tests) if cut else test in all_tests | stems):
                lost.append(f"{name_of(page)}: {test}")
    assert count > 300
    assert not lost, "tests that do not exist: " + "; ".join(sorted(lost))


def test_every_row_of_the_page_for_reviewers_names_a_test():
    """Tables of parties and claims, and the advisories; a header is the line above `|---`."""
    for page in (ROOT / "docs" / "explanation" / "security.md", ROOT / "SECURITY.md"):
        text = page.read_text()
        lines = text[text.find("\n## Advisories") :].splitlines() if page.name == "SECURITY.md" else text.splitlines()
        rows = [
            a for a, b in zip(lines, [*lines[1:], ""], strict=True) if a.startswith("| ") and not b.startswith("|-")
        ]
        assert len(rows) >= 30 and not [row for row in rows if "test_" not in row], page.name


def moved() -> dict[str, str]:
    """The table of names that moved in the changelog: old name, and what its row says of it."""
    return dict(re.findall(r"^\| `([\w.]+)` \| (.+) \|$", CHANGELOG, re.MULTILINE))


def documented(name: str) -> str:
    """Where a name of 0.1.0 is now, by its own row or that of its module; empty where no row speaks of it."""
    rows = moved()
    known = [old for old in rows if f"{name}.".startswith(f"{old}.")]
    if not known:
        return ""
    old = max(known, key=len)
    new = re.match(r"`(securegen[\w.]*)`", rows[old])
    return new[1] + name.removeprefix(old) if new else rows[old]


@pytest.mark.parametrize("name", BEFORE["python"])
def test_python_names_of_the_last_version_are_there_or_their_new_place_is_told(name):
    if resolves(name):
        return
    now = documented(name)
    assert now, f"{name} is gone: say in the changelog's table where it is now"
    assert not now.startswith("securegen.") or resolves(now), f"the changelog says that {name} is now {now}: it is not"


def test_flags_of_the_last_version_are_there_or_the_changelog_names_them():
    context, gone = click.Context(main), []
    for words, flags in BEFORE["commands"].items():
        command: click.Command | None = main
        for word in words.split():
            command = command.get_command(context, word) if isinstance(command, click.Group) else None
        here = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} if command else set()
        here |= {f"--{flag}" for flag in former_flags(command)} if command else set()
        gone += [f"{words} {flag}" for flag in flags if flag not in here and f"`{flag}" not in CHANGELOG]
    assert not gone, f"say in the changelog what became of {gone}"


def test_versions_agree():
    """The changelog's first section, the citation and the package name one version; sections before it have a day."""
    sections = re.findall(r"^## \[([\w.]+)\] - (.*)$", CHANGELOG, re.MULTILINE)
    assert len(sections) == len(re.findall(r"^## ", CHANGELOG, re.MULTILINE)) >= 2
    (version, when), *released = sections
    assert version == VERSION and (when == "in development") == (".dev" in VERSION)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", day) for _, day in released)
    assert re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1] == VERSION


ARCHITECTURE = (ROOT / "docs" / "develop" / "architecture.md").read_text()


def names_in(cell: str, groups: dict[str, set[str]]) -> set[str]:
    """`a`, `b` and the names of *groups*."""
    found = set(re.findall(r"`([\w.]+)`", cell))
    return found.union(*(groups[g] for g in re.findall(r"\*([\w ]+)\*", cell)))


def test_the_page_of_rooms_is_the_table_that_holds_them():
    groups: dict[str, set[str]] = {}
    for group, cell in re.findall(r"^\*([\w ]+)\*: (.*)\.$", ARCHITECTURE, re.MULTILINE):
        groups[group] = names_in(cell, groups)
    rows = re.findall(r"^\| `([\w.]+)` \| ([^|]+) \| ([^|]+) \|$", ARCHITECTURE, re.MULTILINE)
    told = {room: names_in(cell, groups) for room, _, cell in rows}
    for room in sorted(architecture.ALLOWED.keys() | told.keys()):
        page, code = told.get(room), architecture.ALLOWED.get(room)
        assert page == code, f"docs/develop/architecture.md: {room} may import {code}, the page says {page}"


def test_the_table_of_wishes_leads_to_files_and_to_every_room():
    wishes = re.search(r"^## I want to.*?^## ", ARCHITECTURE, re.MULTILINE | re.DOTALL)[0]
    places = re.findall(r"`([\w/]+(?:\.py|/))`", wishes)
    package = ROOT / "securegen"
    assert len(places) > 40 and not [p for p in places if not (package / p).exists()]
    rooms = {p.name for p in package.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert rooms <= {p.split("/")[0] for p in places}, "a room that nobody is led to"
