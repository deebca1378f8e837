"""Put the sections of a report together."""

from __future__ import annotations

from pathlib import Path

from securegen.errors import InputError, StorageError
from securegen.io.output import write_text
from securegen.io.text import lines_of, read_text
from securegen.plot.canvas import require_matplotlib
from securegen.plot.run import costs, human_bytes, human_seconds
from securegen.report.association import loci, opened, result_section
from securegen.report.cost import cost_section, parameter_section, precision_section
from securegen.report.decisions import TITLE, decision_section
from securegen.report.gather import Run
from securegen.report.html import NOTHING, Content, Markup, element, join, page, section
from securegen.report.privacy import privacy_section, security
from securegen.report.risk import risk_section
from securegen.report.scores import catalog_tables, match_table, score_section

ENGINES = {
    "plain": "computed in the clear",
    "ckks": "computed on encrypted data",
    "federated": "computed by several sites on masked sums",
    "mpc": "computed on secret shares",
}


def read_annotations(path: str | Path) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Columns to show beside hits: variant id -> cells, and their names. The file is tab separated with a header whose
    first column is the variant id. Raises InputError for a line with another number of fields."""
    rows = [line.split("\t") for line in lines_of(read_text(path)) if line.strip()]
    if not rows or len(rows[0]) < 2:
        raise InputError(f"{path}: the header needs the variant id and at least one more column, separated by tabs")
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise InputError(f"{path}, line {number}: {len(row)} fields, the header has {len(rows[0])}")
    return {row[0]: tuple(row[1:]) for row in rows[1:]}, tuple(rows[0][1:])


def report(run: Run, *, annotations: str | None = None) -> str:
    """The text of the HTML file. annotations: a table shown beside hits (`read_annotations`).

    Raises InputError where the run left neither a table nor a record, MissingExtraError without matplotlib.
    """
    require_matplotlib()
    if not (run.record or run.results or run.scores):
        raise InputError(f"{run.prefix}: there is nothing to report")
    noted, names = read_annotations(annotations) if annotations else ({}, ())
    record = run.record
    what = ", ".join([r.phenotype for r in run.results] + [s.name for s in run.scores]) or Path(run.prefix).name
    kind = "Polygenic scores" if run.scores else "Association" if run.results else "Run"
    title = f"{kind}: {what}"
    results: list[Content] = [result_section(r, record, annotations=noted, names=names) for r in run.results]
    results += [score_section(s, record) for s in run.scores]
    if run.scores:
        results += [match_table(record), catalog_tables(record)]
    if not results:
        results.append(element("p", "This step wrote no table of results."))
    sections = [("results", "Results", join(results))]
    if record:
        sections += [
            ("privacy", "Who learned what", privacy_section(record)), ("precision", "Precision", precision_section(record)),
            ("cost", "Time and bytes", cost_section(record)), ("parameters", "Parameters", parameter_section(record)),
        ]  # fmt: skip
    decided = decision_section(record, run.prefix)
    if decided != NOTHING:
        sections.insert(2, ("decided", TITLE, decided))
    risk = risk_section(run.prefix)
    if risk != NOTHING:
        sections.insert(1 + bool(record), ("risk", "What it gives away", risk))
    links = join(element("a", name, href=f"#{identity}") for identity, name, _ in sections)
    version = f"securegen {record['version']}" if "version" in record else "securegen"
    engine = ENGINES.get(str(record.get("engine")), "")
    scenario = str((record.get("receipt") or {}).get("scenario", ""))
    scenario = "" if scenario in engine else scenario
    under = ". ".join(filter(None, [engine.capitalize(), f"{scenario[:1].upper()}{scenario[1:]}", f"{version}."]))
    return page(
        title, run.identity, element("header", element("h1", title), element("p", under), element("nav", links)), _tiles(run),
        *(section(identity, name, content) for identity, name, content in sections),
        element("footer", f"Written by {version}. This page loads nothing from anywhere and can be kept or sent as it is."),
    )  # fmt: skip


def _tiles(run: Run) -> Markup:
    record = run.record
    tiles: list[tuple[str, str]] = []
    if run.people or record.get("samples"):
        tiles.append((f"{run.people or int(record['samples']):,}", "people" if run.scores else "people analysed"))
    if run.results:
        largest = max(run.results, key=lambda r: len(r.table))
        if any(r.whole for r in run.results):
            tiles.append((f"{len(largest.table):,}", "variants"))
        else:
            tiles.append((opened(largest, record).removesuffix(" opened"), "variants opened"))
        tiles.append((", ".join(f"{loci(r):,}" for r in run.results[:3]), "loci at p < 5e‑8"))
        inflation = [f"{r.tests.inflation:.3f}" for r in run.results[:3] if r.whole]
        tiles += [(", ".join(inflation), "λ_GC")] if inflation else []
    elif record.get("variants"):
        tiles.append((f"{int(record['variants']):,}", "variants"))
    if record:
        c = costs(record)
        tiles.append((security(record)[0], "security"))
        tiles.append((human_seconds(c.total), "wall time"))
        tiles += [(human_bytes(sum(v for _, v in c.size)), "sent" if c.sent else "encrypted files")] if c.size else []
    cells = (element("div", element("b", value), element("span", name), class_="tile") for value, name in tiles)
    return element("div", *cells, class_="tiles") if tiles else NOTHING


def write_report(path: str | Path, run: Run, *, annotations: str | None = None, overwrite: bool = False) -> None:
    """Write `report`, whole or not at all. Raises StorageError as well, also where `check_path` does."""
    if not overwrite:
        check_path(path, run)
    write_text(path, report(run, annotations=annotations))


def check_path(path: str | Path, run: Run) -> None:
    """Raise StorageError when the file is there and is not an earlier report of the same run."""
    try:
        with Path(path).open("rb") as stream:
            head = stream.read(4096)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from None
    if run.identity.encode() not in head:
        what = "the report of another run" if b'name="securegen-run"' in head else "not a report of this run"
        raise StorageError(f"{path} exists and is {what}: choose another name (`out`), or `overwrite` to replace it")
