"""The report is self-contained, runs nothing, escapes everything, and says what the run's record says."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from support import securegen

from securegen.errors import InputError
from securegen.report.association import p_text
from securegen.report.build import read_annotations
from securegen.report.gather import find_tables, open_run
from securegen.report.html import Markup, element, page, table

pytestmark = pytest.mark.usefixtures("forked_roles")

pytest.importorskip("matplotlib", reason="needs securegen[plot]")
EVIL = '"><script>alert(1)</script><img/src=x onerror=alert(2)>'
VOID = {"meta", "img", "source", "br"}


class Page(HTMLParser):
    """Every element with its attributes, the text, and whether elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


ELEMENTS = {
    "html", "head", "meta", "title", "style", "body", "main", "header", "nav", "a", "section", "h1", "h2", "h3", "h4", "p",
    "div", "span", "b", "table", "thead", "tbody", "tr", "th", "td", "dl", "dt", "dd", "ul", "li", "code", "figure",
    "picture", "source", "img", "figcaption", "footer",
}  # fmt: skip
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "id", "href", "scope", "data-label", "media",
              "srcset", "src", "alt"}  # fmt: skip


def check_page(text: str) -> Page:
    """Fail unless the page is well formed, loads nothing and can run nothing."""
    parsed = Page(text)
    assert not parsed.open
    assert {tag for tag, _ in parsed.elements} <= ELEMENTS
    for tag, attributes in parsed.elements:
        assert set(attributes) <= ATTRIBUTES, (tag, attributes)
        for name in ("src", "srcset"):
            assert (attributes.get(name) or "data:image/svg+xml;base64,").startswith("data:image/svg+xml;base64,")
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search(r"https?:|url\(|@import|//[a-z]", re.sub(r"base64,[A-Za-z0-9+/=]+", "", text))
    policy = next(a["content"] for _, a in parsed.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;") and "script" not in policy
    return parsed


@pytest.fixture(scope="module")
def encrypted(small, tmp_path_factory):
    """Prefix of an encrypted run of two phenotypes."""
    out = tmp_path_factory.mktemp("report") / "run"
    done = securegen(
        "run-local", "gwas", "--engine", "ckks", *small.options("QT,CC"), "--chr", "2", "--out", out, "--quiet"
    )
    assert done.code == 0, done.err
    return out


@pytest.fixture(scope="module")
def report(encrypted) -> tuple[str, Page]:
    done = securegen("report", encrypted)
    assert done.code == 0 and done.out.strip() == f"{encrypted}.report.html", done.err
    text = encrypted.with_name("run.report.html").read_text()
    return text, check_page(text)


def test_the_report_says_what_the_record_says(report, encrypted):
    record = json.loads(encrypted.with_name("run.run.json").read_text())
    said = report[1].text
    for party in record["receipt"]["parties"]:
        assert party["holds"] in said and party["learns"] in said
    for digest in record["inputs"].values():
        assert digest in said
    assert "128 bits" in said and f"planned margin {record['planned_noise_margin_bits']:.1f}" not in said
    assert f"{record['planned_noise_margin_bits']:.1f} bits below ½" in said
    certain = record["promise"]["QT"]["dt_certain"]
    assert f"QT: T differs from exact arithmetic by at most {certain:.1e}".replace("e-0", "e-") in said
    assert "run.QT.glm.linear" in said and str(encrypted.parent) not in said, "names of files, no folders"
    table = pd.read_csv(f"{encrypted}.QT.glm.linear", sep="\t")
    assert table.loc[table["LOG10_P"].idxmax(), "ID"] in said
    for code, count in table["ERRCODE"].value_counts().items():
        assert code == "." or f"{code} {count}" in said
    for row in ("QT", "CC"):
        assert f"Manhattan plot of {row}" in {a.get("alt") for _, a in report[1].elements}


def test_every_picture_has_a_wide_and_a_narrow_version(report):
    pictures = [a for t, a in report[1].elements if t == "img"]
    sources = [a for t, a in report[1].elements if t == "source"]
    assert len(pictures) == len(sources) == 2 * 2 + 2
    assert all(a["alt"] for a in pictures) and all(a["media"] == "(max-width: 640px)" for a in sources)
    assert len({a["src"] for a in pictures} | {a["srcset"] for a in sources}) == 2 * len(pictures)


def test_names_from_files_are_escaped(encrypted, tmp_path):
    """Phenotype names, ids, parties, file names and annotations that are markup stay text."""
    record = json.loads(encrypted.with_name("run.run.json").read_text())
    record["phenotypes"] = ["A<b>x"]
    record |= {"command": EVIL, "version": EVIL, "missing": EVIL, "encryptor": EVIL, "engine": EVIL}
    record["receipt"] = {
        "scenario": EVIL, "parties": [{"name": EVIL, "holds": EVIL, "learns": EVIL}], "assumptions": [EVIL],
        "released": [EVIL], "warnings": [EVIL],
    }  # fmt: skip
    record |= {
        "inputs": {EVIL: EVIL},
        "parameters": {EVIL: [EVIL]},
        "seconds": {EVIL: 1, "total": 2},
        "bytes": {EVIL: 3},
    }
    record["promise"] = {EVIL: record["promise"]["QT"]}
    (tmp_path / "e.run.json").write_text(json.dumps(record))
    frame = pd.read_csv(f"{encrypted}.QT.glm.linear", sep="\t", dtype=str, keep_default_na=False)
    best = frame["LOG10_P"].where(frame["LOG10_P"] != "NA").astype(float).idxmax()
    evil = EVIL.replace(" ", "/")
    frame.loc[best, ["ID", "A1", "REF", "ERRCODE"]] = evil
    frame.to_csv(tmp_path / "e.A<b>x.glm.linear", sep="\t", index=False, quoting=csv.QUOTE_NONE)
    (tmp_path / "notes.tsv").write_text(f"ID\t{EVIL}\n{evil}\t{EVIL} & more\n")
    done = securegen("report", tmp_path / "e", "--annotate", tmp_path / "notes.tsv", "--out", tmp_path / "page.html")
    assert done.code == 0, done.err
    parsed = check_page((tmp_path / "page.html").read_text())
    assert parsed.text.count("alert(1)") > 12 and "A<b>x" in parsed.text and "& more" in parsed.text
    assert not [t for t, _ in parsed.elements if t == "script"]


def test_the_check_sees_what_it_should():
    """The test's own net: a page with a script, a handler or a load fails."""
    for bad in ("<script>1</script>", '<p onclick="x">', '<img src="http://a/b">', '<a href="x">y</a>', "<p>",
                '<section id="a">https://example.org</section>'):  # fmt: skip
        with pytest.raises(AssertionError):
            check_page(page("t", "run", Markup(bad)))
    check_page(page("t", "run", element("p", EVIL), table([EVIL], [[EVIL]], numbers=[0])))


def test_nothing_measured_at_decryption_is_shown(encrypted, tmp_path):
    """Noise that a careless step had written would not reach the page: only known keys are read."""
    record = json.loads(encrypted.with_name("run.run.json").read_text())
    secret = 3.14159265358
    record |= {"measured_noise": secret, "noise": {"bits": secret}, "measured_noise_margin_bits": secret}
    (tmp_path / "n.run.json").write_text(json.dumps(record))
    assert securegen("report", tmp_path / "n").code == 0
    assert "3.1415" not in check_page((tmp_path / "n.report.html").read_text()).text


def test_step_by_step_runs_have_a_report(small, tmp_path):
    """What decrypt leaves is enough for who learned what, bits of security and planned noise."""
    word = {"SECUREGEN_PASSPHRASE": "correct horse"}
    where = [*small.options("QT"), "--chr", "2"]
    run = lambda *words: securegen(*words, "--quiet", environment=word)
    steps = [
        run("plan", *where, "--out", tmp_path / "p"), run("keygen", "--plan", tmp_path / "p.plan.json", "--out", tmp_path / "k"),
        run("encrypt", "--key", tmp_path / "k.secret", *where, "--out", tmp_path / "s"),
        run("gwas", "--cohort", tmp_path / "s.cohort", "--design", tmp_path / "s.design", "--out", tmp_path / "s"),
        run("decrypt", "--key", tmp_path / "k.secret", "--owner", tmp_path / "s.owner", "--results", tmp_path / "s.results",
            "--out", tmp_path / "r"),
        securegen("report", tmp_path / "r"),
    ]  # fmt: skip
    assert [s.code for s in steps] == [0] * 6, [s.err for s in steps]
    said = check_page((tmp_path / "r.report.html").read_text()).text
    assert "no genotype, phenotype or result" in said and "ring learning with errors" in said.lower()
    assert "bits below ½" in said and "Manhattan" in (tmp_path / "r.report.html").read_text()


def test_scores_have_a_report(small, tmp_path):
    bim = pd.read_csv(f"{small.bfile}.bim", sep="\t", header=None).iloc[10:60]
    weights = pd.DataFrame({"ID": bim[1], "effect_allele": bim[4], "other_allele": bim[5], "effect_weight": 0.25})
    weights.to_csv(tmp_path / "w.tsv", sep="\t", index=False)
    run = ["run-local", "prs", "--engine", "ckks", "--bfile", small.bfile, "--score", tmp_path / "w.tsv", "--quiet"]
    assert securegen(*run, "--out", tmp_path / "s", "--risk-intercept", "0").code == 0
    done = securegen("report", tmp_path / "s", "--pheno", small.pheno, "--pheno-name", "CC")
    assert done.code == 0, done.err
    parsed = check_page((tmp_path / "s.report.html").read_text())
    assert "Polygenic scores: SCORE1" in parsed.text and "controls" in parsed.text and "predicted risk" in parsed.text
    assert "w.tsv 50 100.0 %" in parsed.text, "the match of the scoring file"
    done = securegen("report", tmp_path / "s", "--pheno", small.pheno)
    assert done.code == 2 and "name one with --pheno-name" in done.err


def test_p_values_for_eyes():
    assert [p_text(v) for v in (0.0, 0.301, 1.5, 4.0, 3.0457574905606752, 8.0, 400.0)] == [
        "1.00", "0.50", "0.032", "1.0e-4", "9.0e-4", "1.0e-8", "1.0e-400",
    ]  # fmt: skip


def test_tables_of_one_prefix_only(tmp_path):
    """`a` does not take the tables of `a.b`, when the record names its phenotypes; formats and packing are found."""
    for name in (
        "a.QT.glm.linear",
        "a.b.QT.glm.linear",
        "a.Q.R.trend.gz",
        "a_QT.regenie",
        "a.QT.gwas-ssf.tsv",
        "a.QT.log",
    ):
        (tmp_path / name).touch()
    prefix = str(tmp_path / "a")
    found = [(p, f.rpartition("/")[2]) for p, f, _ in find_tables(prefix, {"phenotypes": ["Q.R", "QT"]})]
    assert found == [
        ("Q.R", "a.Q.R.trend.gz"),
        ("QT", "a.QT.glm.linear"),
        ("QT", "a_QT.regenie"),
        ("QT", "a.QT.gwas-ssf.tsv"),
    ]
    assert ("b.QT", f"{prefix}.b.QT.glm.linear", "glm.linear") in find_tables(prefix, {})


def test_bad_files_say_what_is_wrong(tmp_path):
    (tmp_path / "x.run.json").write_text("{")
    with pytest.raises(InputError, match="x.run.json, the record of a run, is damaged: it is not JSON"):
        open_run(str(tmp_path / "x"))
    (tmp_path / "x.run.json").write_text("[]")
    with pytest.raises(InputError, match="the whole is a list, expected an object"):
        open_run(str(tmp_path / "x"))
    (tmp_path / "n.tsv").write_text("ID\tgene\nrs1\tA\tB\n")
    with pytest.raises(InputError, match="n.tsv, line 2: 3 fields, the header has 2"):
        read_annotations(tmp_path / "n.tsv")
    (tmp_path / "n.tsv").write_text("ID\tgene\nrs1\ta\u2028b\x0cc\x85\n")  # none of these ends a line
    assert read_annotations(tmp_path / "n.tsv")[0] == {"rs1": ("a\u2028b\x0cc\x85",)}
