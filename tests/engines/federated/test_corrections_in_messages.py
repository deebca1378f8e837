"""Corrections through the messages of a deployment: killed sites go on with the same bytes, and tables are the plain engine's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

import securegen as sg
from securegen.engines.comparison import _WithoutFew
from securegen.engines.federated.conversation import Conversation
from securegen.errors import UsageError
from securegen.record.run_log import RunLog
from securegen.results.forms import TableForm

from .consortium import Consortium

TRIO = ("anna", "bert", "cora")
TERMS = {"phenotypes": {"CC": "case-control-12"}, "p_thresh": 0.6, "openings": "all"}


class Killed(BaseException):
    """The process ends here."""


def together(consortium: Consortium, folder: str) -> dict:
    """What every site ends with; one that is killed begins anew."""

    def part(site: str):
        while True:
            try:
                return consortium.run(folder, site, wait=30)
            except Killed:
                continue

    with ThreadPoolExecutor(len(TRIO)) as pool:
        return dict(zip(TRIO, pool.map(part, TRIO), strict=True))


def started(consortium: Consortium, folder: str, **more):
    """A study of CC with corrections that three sites have joined."""
    from securegen.engines.federated import steps

    study = consortium.init("draft", TRIO)  # keys, and who belongs to each site
    assert study.correction == "none"
    made, _ = steps.init(
        consortium.work / folder, consortium.work / "coordinator.secret",
        sites={s: consortium.work / f"{s}.public" for s in TRIO}, variant_lists=[f"{consortium.cohort.bfile}.bim"],
        covariates=["AGE"], smallest_cohort=1, **(TERMS | more),
    )  # fmt: skip
    for site in TRIO:
        consortium.join(folder, site)
    return made


@pytest.mark.parametrize(("method", "commit"), [("spa", False), ("firth", True)])
def test_a_site_that_is_killed_goes_on_with_the_same_bytes(cohort, tmp_path, monkeypatch, method, commit):
    consortium = Consortium(tmp_path, cohort)
    study = started(consortium, "shared", correction=method, commit=commit)
    assert (study.correction, study.p_thresh) == (method, 0.6)
    real, left = Conversation.post, ["corrections-0000-flags", "corrections-0001-sums", "corrections-0002-flags"]

    def post(self, name, message):
        if self.site == "bert" and name in left:
            left.remove(name)
            raise Killed  # made and kept, and not sent
        return real(self, name, message)

    monkeypatch.setattr(Conversation, "post", post)
    made: dict[str, list[bytes]] = {}
    masked = Conversation.made

    def note(self, name, *rest):
        message = masked(self, name, *rest)
        if self.site == "bert" and name.startswith("corrections"):
            made.setdefault(name, []).append(message.payload or b"")
        return message

    monkeypatch.setattr(Conversation, "made", note)
    done = together(consortium, "shared")
    assert not left
    assert all(len(set(payloads)) == 1 for payloads in made.values()) and max(map(len, made.values())) > 1
    tables = {(consortium.work / site / "shared.CC.glm.logistic.score").read_bytes() for site in TRIO}
    assert len(tables) == 1
    keep = tmp_path / "keep.txt"
    keep.write_text("".join((consortium.work / site / "keep.txt").read_text() for site in TRIO))
    inputs = {"pheno": cohort.pheno, "pheno_name": "CC", "covar": cohort.covar, "covar_name": "AGE", "keep": str(keep)}
    opened = sg.open_study(cohort.bfile, **inputs, correction=method, p_thresh=0.6)
    plain = _WithoutFew().run(
        opened, str(tmp_path / "plain"), TableForm(), RunLog(str(tmp_path / "p"), "plain", quiet=True)
    )
    assert (tmp_path / "plain.CC.glm.logistic.score").read_bytes() in tables
    record = done["anna"].correction["correction"]
    assert record["corrected"]["CC"] > 20 and record == plain.facts["correction"]
    assert any("--correction" in line for line in done["anna"].receipt.lines())
    again = consortium.run("shared", "cora")  # without keys, from kept totals
    assert again.correction == done["cora"].correction
    assert (consortium.work / "cora" / "shared.CC.glm.logistic.score").read_bytes() in tables
    names = [r["name"] for r in done["anna"].opened["rounds"] if r["name"].startswith("corrections")]
    assert names[:2] == ["corrections-0000-flags", "corrections-0000-sums"] and len(names) == len(set(names))


def test_terms_say_what_corrections_open_and_cost(cohort, tmp_path):
    from securegen.engines.federated.terms import opened_by

    study = started(Consortium(tmp_path, cohort), "shared", correction="spa")
    words = next(line for line in opened_by(study) if "correction" in line)
    assert "P below 0.6" in words and "21 columns" in words


@pytest.mark.parametrize(("terms", "words"), [
    ({"correction": "spa", "phenotypes": {"QT": "quantitative"}}, "no phenotype has them"),
    ({"correction": "none"}, "`p_thresh` needs a `correction`"), ({"correction": "wald"}, "`correction`"),
    ({"correction": "spa", "model": "trend"}, "no phenotype has them"),
])  # fmt: skip
def test_study_files_that_do_not_go_with_a_correction(cohort, tmp_path, terms, words):
    with pytest.raises(UsageError, match=words):
        started(Consortium(tmp_path, cohort), "shared", **terms)


def test_carriers_alone_are_refused_by_name(cohort):
    study = sg.open_study(cohort.bfile, pheno=cohort.pheno, pheno_name="CC", correction="spa", fast=True)
    with pytest.raises(UsageError, match="`fast` does not go with a federated study"):
        sg.run(study, sg.Federated(sites=3))
