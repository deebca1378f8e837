"""X, Y, MT and predictions under MPC: the plain engine's tables, masks of their own, and rules for each place's people."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reference_data import GOLD
from support import Cohort, write_plink, write_tsv

from securegen.engines.mpc import aggregates, steps
from securegen.engines.mpc.announced import open_announced
from securegen.engines.mpc.association import receive_cohort
from securegen.engines.mpc.deployment import ROLES
from securegen.engines.mpc.loopback import loopback_study
from securegen.engines.mpc.net.session import Session
from securegen.engines.mpc.projected_groups import read_design
from securegen.engines.mpc.runs import RunReader, VariantRun, hear
from securegen.engines.mpc.shares.prg import derive_key
from securegen.engines.mpc.state_file import StateFile
from securegen.engines.mpc.vertical import Block
from securegen.engines.plain.engine import write_plain
from securegen.errors import PolicyError, ProtocolError, UsageError
from securegen.governance.gate import ungoverned
from securegen.local.threads import run_in_threads
from securegen.model import AnnouncedCohort, GenotypeBlock, Samples, Variants
from securegen.record.association_receipts import mpc_receipt
from securegen.results.projected import plain_projected
from securegen.stats import projection
from securegen.stats.projected_statistics import TALL
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs
from securegen.study.opening import study_of
from securegen.study.ploidy import PloidyReader, X
from securegen.study.relabelled import Relabelled

REGENIE = GOLD / "sim_500x5k" / "gold_regenie"
WHOLE = {"aggregates": {"reveal": "aggregates", "consent_aggregates": True}, "outsourced": {}}
TERMS = WHOLE | {"uv": {"reveal": "uv"}, "chi2": {"reveal": "chi2"}, "hits": {"reveal": "hits", "threshold": 0.05}}
OWNER = {"split_par", "chr", "dominant"}  # options of the genotype owner


class Runs:
    """Parties of one split in `folder`, which keep their state from one run to the next."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.roles = ROLES["outsourced" if kind == "outsourced" else "vertical"]
        self.folder, self.kind, self.number = folder / kind, kind, 0
        self.parties = loopback_study(self.folder, self.roles, timeout=60)
        self.outcomes: dict[str, steps.Outcome] = {}
        self.log: dict[str, list[str]] = {}

    def state(self, name: str = "genotypes") -> dict:
        path = self.folder / f"{name}.state.json"
        return json.loads(path.read_text()) if path.exists() else {"spent": {}, "claims": {}}

    def __call__(self, cohort, *, limit: int | None = 99, openings: str = "all", **options) -> dict[str, bytes]:
        """The tables of a run with these options of `open_study`."""
        self.number += 1
        out = self.folder / str(self.number)
        own = {"genotypes": {n: v for n, v in options.items() if n in OWNER} | {"bfile": cohort.bfile}}
        own["phenotypes"] = {"pheno": cohort.pheno, "covar": cohort.covar} | {
            n: v for n, v in options.items() if n not in OWNER and n != "masked"
        }

        def part(name):
            if self.roles[name] == "dealer":
                return lambda: steps.run_dealer(self.parties, keys=self.folder)
            self.log[name] = []

            def run():
                self.outcomes[name] = steps.run_party(
                    self.parties, name, Inputs(**own.get(name, {})), f"{out}", keys=self.folder, openings=openings,
                    column_limit=limit, log=self.log[name].append, threads=1, **TERMS[self.kind],
                    **({"masked": options["masked"]} if "masked" in options and name == "phenotypes" else {}),
                )  # fmt: skip

            return run

        run_in_threads({name: part(name) for name in self.roles})
        return {p.name.split(".", 1)[1]: p.read_bytes() for p in self.folder.glob(f"{self.number}.*")}


@pytest.fixture
def parties(tmp_path):
    return lambda kind="aggregates": Runs(tmp_path, kind)


@pytest.fixture(scope="module")
def sexes(reference):
    return reference("sexes")


def plain(cohort, folder: Path, **options) -> dict[str, bytes]:
    inputs = Inputs(bfile=cohort.bfile, pheno=cohort.pheno, covar=cohort.covar, **options)
    write_plain(study_of(inputs), str(folder / "plain"))
    return {p.name.split(".", 1)[1]: p.read_bytes() for p in folder.glob("plain.*")}


CHOICES = {
    "all": {"split_par": "b38"},
    "model 1": {"xchr_model": 1, "split_par": "b38", "pheno_name": ("CC",)},
    "without X": {"xchr_model": 0, "pheno_name": ("CC",)},
    "regenie": {"statistic": "regenie", "pheno_name": ("QT",)},
    "trend": {"model": "trend", "pheno_name": ("CC",)},
    "interaction": {"interaction": "AGE", "pheno_name": ("QT",)},
    "dominant": {"dominant": True, "statistic": "regenie", "pheno_name": ("QT",)},
}


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("choice", CHOICES)
def test_tables_are_the_plain_engine_s(parties, sexes, tmp_path, kind, choice):
    found = parties(kind)(sexes, **CHOICES[choice])
    assert found and found == plain(sexes, tmp_path, **CHOICES[choice])


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("trait", ["QT", "CC"])
def test_predictions_by_chromosome(parties, reference, tmp_path, kind, trait):
    cohort = reference("sim_500x5k")
    options = {"pred": str(REGENIE / f"{trait.lower()}1_pred.list"), "pheno_name": (trait,), "chr": ("4", "5")}
    run = parties(kind)
    assert run(cohort, **options) == plain(cohort, tmp_path, **options)
    assert run.outcomes["genotypes"].several and run.outcomes["phenotypes"].several
    assert [s.name for s in run.outcomes["phenotypes"].study.strata] == ["chr4", "chr5"]


def oracle(cohort, folder: Path, reveal: str, **options) -> dict[str, bytes]:
    study = study_of(Inputs(bfile=cohort.bfile, pheno=cohort.pheno, covar=cohort.covar, **options))
    plain_projected(study.reader, study.strata, str(folder / "oracle"), reveal=reveal, gate=ungoverned())
    return {p.name.split(".", 1)[1]: p.read_bytes() for p in folder.glob("oracle.*")}


def read(table: bytes) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(table), sep="\t")


REVEALED = {name: CHOICES[name] for name in ("all", "model 1", "regenie")} | {
    "QT": {"pred": str(REGENIE / "qt1_pred.list"), "pheno_name": ("QT",), "chr": ("4", "5")},
    "CC": {"pred": str(REGENIE / "cc1_pred.list"), "pheno_name": ("CC",), "chr": ("4", "5")},
}


@pytest.mark.parametrize("choice", REVEALED)
def test_less_than_all_sums_are_those_of_each_stratum(parties, reference, tmp_path, choice):
    """Two numbers byte for byte; χ² and hits as exactly as they promise; all as the whole tables say."""
    cohort, options = reference("sim_500x5k" if "pred" in REVEALED[choice] else "sexes"), REVEALED[choice]
    assert parties("uv")(cohort, **options) == oracle(cohort, tmp_path, "uv", **options)
    hits, chi2 = parties("hits")(cohort, **options), parties("chi2")(cohort, **options)
    for name, table in plain(cohort, tmp_path, **options).items():
        trait, whole = name.split(".")[0], read(table)
        chisq = whole["CHISQ"] if "CHISQ" in whole else whole["T_STAT"] ** 2
        revealed = read(chi2[f"{trait}.chi2"])
        assert revealed["ID"].tolist() == whole["ID"].tolist() and revealed["OBS_CT"].equals(whole["OBS_CT"])
        assert (abs(revealed["CHISQ"] - chisq) / np.maximum(1, chisq)).max() < 1e-6
        few, named = whole[whole["P"] <= 0.05].reset_index(drop=True), read(hits[f"{trait}.hits"])
        assert named["ID"].tolist() == few["ID"].tolist() and len(few) > 10
        np.testing.assert_allclose(named["BETA"], few["BETA"], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(named["LOG10_P"], few["LOG10_P"], rtol=1e-6)


def test_where_a_phenotype_has_no_design_its_rows_are_na(parties, sexes, tmp_path):
    """Of women alone: Y has nobody. Hits are of variants that were tested."""
    fam = [line.split() for line in Path(f"{sexes.bfile}.fam").read_text().splitlines()]
    female = {f[1] for f in fam if f[4] == "2"}
    rows = [line.split("\t") for line in Path(sexes.pheno).read_text().splitlines()][1:]
    values = [[*r[:2], r[2] if r[1] in female else "NA"] for r in rows]
    cohort = type(sexes)(sexes.bfile, str(write_tsv(tmp_path / "p.tsv", ["#FID", "IID", "QT"], values)), sexes.covar)
    whole = parties()(cohort)
    assert whole == plain(cohort, tmp_path)
    found = parties("uv")(cohort)
    assert found == oracle(cohort, tmp_path, "uv")
    y = read(found["QT.uv"]).query("`#CHROM` == 'Y'")
    assert len(y) == 30 and set(y["ERRCODE"]) == {"SAMPLE_CT<=PREDICTOR_CT"} and y["BETA"].isna().all()
    assert "Y" not in set(read(parties("hits")(cohort)["QT.hits"])["#CHROM"].astype(str))


def test_dosages_on_y_are_centred_over_males(sexes):
    """Of which the bound of a sum is right. Calls of females on Y, which do not count, would move the centre."""
    rng = np.random.default_rng(3)
    male = np.arange(400) < 200
    dosage = np.where(male, 2 * rng.binomial(1, 0.9, (6, 400)), 0).astype(np.int8)
    block = GenotypeBlock(0, dosage, None)
    tall = {}
    for name, among in (("everybody", None), ("males", male)):
        moved = projection.centred(block, 2, among).dosage[:, male].astype(float)
        spread = dosage[:, male] - dosage[:, male].mean(axis=1, keepdims=True)
        tall[name] = np.sqrt((moved**2).sum(axis=1) / (spread**2).sum(axis=1)).max()
    assert tall["males"] < TALL < tall["everybody"]


def test_a_study_with_one_design_says_nothing_of_runs(parties, sexes, monkeypatch):
    """Its plan, its masks and its ledger have the names that they had."""
    told = []
    send = Session.send_json
    monkeypatch.setattr(
        Session, "send_json", lambda s, to, step, v: (told.append((s.me, step, v)), send(s, to, step, v))
    )
    run = parties()
    run(sexes, pheno_name=("QT",), chr="1")
    plans = [v for me, step, v in told if step in ("plan", "dealer/plan")]
    assert len(plans) == 2 and all(set(v) == {"sizes", "analysed", "weights"} for v in plans)
    assert "sex" not in next(v for _, step, v in told if step == "cohort")["samples"]
    assert {c.count("/") for c in run.state()["claims"]} == {3} and list(run.state()["spent"]) == [
        "columns of cohort cohort"
    ]
    assert sorted(p.name for p in run.folder.glob("*.ledger")) == ["genotypes.state.json.ledger"]
    assert not run.outcomes["genotypes"].several and not run.outcomes["phenotypes"].several


@pytest.mark.parametrize("protected", [False, True])
def test_one_mask_for_two_strata_gives_the_difference_of_their_genotypes(parties, sexes, monkeypatch, protected):
    """The attack: a mask that is named by the stream alone covers two blocks. A server sees ε − ε′ = g − g′."""
    seen: list[np.ndarray] = []
    receive = Session.receive

    def heard(session, source, step, **kind):
        array = receive(session, source, step, **kind)
        if session.me == "server-one" and step.startswith("outsourced/epsilon"):
            seen.append(array.copy())
        return array

    monkeypatch.setattr(Session, "receive", heard)
    if not protected:
        monkeypatch.setattr(
            StateFile, "mask_key", lambda s, cohort, place, digest: derive_key(bytes(16), place.split("/")[1])
        )
    parties("outsourced")(sexes, pheno_name=("QT",), xchr_model=1)
    y, mt = seen[6::3]  # after autosomes and X; dosages, squares and missing calls of each
    assert (y.shape, mt.shape) == ((400, 30), (400, 20))
    leak = (y.ravel()[:20] - mt.ravel()[:20]).view(np.int32)  # of the first person
    assert (np.abs(leak) <= 2).all() != protected


@pytest.mark.parametrize("kind", ["aggregates", "outsourced", "chi2"])
def test_every_key_of_a_run_is_new(parties, reference, monkeypatch, kind):
    """Of every block of every stratum, and of the phenotype owner's columns in each."""
    heard: list[tuple[str, bytes]] = []
    receive = Session.receive_key

    def key(session, source, step):
        found = receive(session, source, step)
        if session.me == "dealer":
            heard.append((step, found))
        return found

    monkeypatch.setattr(Session, "receive_key", key)
    run = parties(kind)
    for _ in range(2):  # the second time blocks are masked as the first time, columns are not
        run(reference("sexes"), pheno_name=("QT",), xchr_model=1)
    blocks = [k for step, k in heard if "block" in step]
    others = [k for step, k in heard if "block" not in step]
    assert len(set(blocks)) == len(blocks) / 2 and len(set(others)) == len(others) and not set(blocks) & set(others)


@pytest.mark.parametrize("protected", [False, True])
def test_runs_that_end_elsewhere_have_masks_of_their_own(parties, reference, monkeypatch, protected):
    """A block with and without predictions begins at the same variant and ends elsewhere: by its start alone it would be
    other data, and the genotype owner would refuse its own cohort."""
    cohort, run = reference("sim_500x5k"), parties()
    pred = {"pred": str(REGENIE / "qt1_pred.list")}
    if not protected:
        monkeypatch.setattr(Block, "mask", lambda block, stream, ring: f"{stream}/{block.start}/{ring}")
    first = run(cohort, pheno_name=("QT",), chr=("4", "5"), bits=20)
    if not protected:
        with pytest.raises(PolicyError, match="covers other data"):
            run(cohort, pheno_name=("QT",), chr=("4", "5"), bits=20, **pred)
        return
    second = run(cohort, pheno_name=("QT",), chr=("4", "5"), bits=20, **pred)
    assert set(first) == set(second) == {"QT.glm.linear"} and first != second
    assert run(cohort, pheno_name=("QT",), chr=("4", "5"), bits=20) == first


def test_one_threshold_for_all_chromosomes(parties, reference):
    cohort, run = reference("sexes"), parties("hits")
    run(cohort, pheno_name=("QT",))
    claims = [c for c in run.state()["claims"] if c.startswith("threshold")]
    assert claims == ["threshold of cohort/QT"]


def test_masked_genotypes_are_kept_run_by_run(parties, sexes, tmp_path):
    run = parties()
    sent, masked = [], str(tmp_path / "masked")
    for model in (2, 2, 1):
        (folder := tmp_path / str(len(sent))).mkdir()
        told = {"pheno_name": ("QT",), "xchr_model": model}
        assert run(sexes, masked=masked, **told) == plain(sexes, folder, **told)
        sent.append(run.outcomes["genotypes"].traffic.sent["phenotypes"])
    x = 230 / 480  # of the variants, which the third run has sent again: doubled they are other data
    assert sent[1] < sent[0] / 4 and x / 2 < (sent[2] - sent[1]) / (sent[0] - sent[1]) < 2 * x


def without_sexes(cohort, folder: Path, name: str):
    """The cohort with a fam that has no sexes, and tables that have them in column S."""
    folder.mkdir()
    fam = [line.split() for line in Path(f"{cohort.bfile}.fam").read_text().splitlines()]
    for suffix in ("bed", "bim"):
        (folder / f"{name}.{suffix}").write_bytes(Path(f"{cohort.bfile}.{suffix}").read_bytes())
    (folder / f"{name}.fam").write_text("".join("\t".join([*f[:4], "0", f[5]]) + "\n" for f in fam))
    sex = {f[1]: f[4] for f in fam}
    rows = [line.split("\t") for line in Path(cohort.covar).read_text().splitlines()]
    table = write_tsv(folder / "c.tsv", [*rows[0], "S"], [[*r, sex[r[1]]] for r in rows[1:]])
    return type(cohort)(str(folder / name), cohort.pheno, str(table))


def test_sexes_of_the_phenotype_owner_or_a_refusal(parties, sexes, tmp_path):
    alone = without_sexes(sexes, tmp_path / "alone", "sexes")
    run = parties()
    with pytest.raises(UsageError, match=r"X and Y are analysed by sex, and nobody's is known.*`sex_name`"):
        run(alone, pheno_name=("QT",))
    assert not run.state()["claims"] and not list(run.folder.glob("1.*"))
    found = run(alone, pheno_name=("QT",), sex_name="S")
    assert found == plain(alone, tmp_path, pheno_name=("QT",), sex_name="S")
    with pytest.raises(
        UsageError, match="`xchr_model` 1: 1.. people on X are male by `sex_name` and not in the genotype"
    ):
        run(alone, pheno_name=("QT",), sex_name="S", xchr_model=1)


def test_few_people_of_unknown_sex_may_be_left_out_of_x_once_and_for_all(parties, sexes):
    """Two of them: sums over everybody and over the others, of one variant, are theirs; of two variants they are not."""
    run = parties()
    run(sexes, pheno_name=("QT",), openings="strict", split_par="b38")
    ledgers = sorted(
        p.name.rpartition("ledger")[2] for p in run.folder.glob("*ledger*") if p.suffix not in (".key", ".lock")
    )
    assert ledgers == ["", ".PAR", ".X", ".Y"]
    with pytest.raises(PolicyError, match="does not open these sums"):
        run(sexes, pheno_name=("QT",), openings="strict", split_par="b38", statistic="regenie")
    assert any(
        "REFUSED, set 1 of design 2, on X: fewer than 10 people are only in" in line for line in run.log["genotypes"]
    )
    run(sexes, pheno_name=("QT",), openings="strict", chr=("1-22", "Y", "MT"), statistic="regenie")


def test_one_ledger_for_all_chromosomes_would_refuse_every_such_study(parties, sexes, monkeypatch):
    monkeypatch.setattr(RunReader, "places", lambda reader, stratum, runs: frozenset({""}))
    with pytest.raises(PolicyError, match="does not open these sums"):
        parties()(sexes, pheno_name=("QT",), openings="strict", split_par="b38")


def test_the_ends_of_x_are_not_summed_over_everybody_after_they_were_as_x(parties, sexes):
    run = parties()
    run(sexes, pheno_name=("QT",), openings="strict", chr="X")
    with pytest.raises(PolicyError, match="does not open these sums"):
        run(sexes, pheno_name=("QT",), openings="strict", split_par="b38")
    assert any("on PAR: fewer than 10 people are only in" in line for line in run.log["genotypes"])


def test_phenotypes_that_few_males_tell_apart_are_refused_on_y_alone(parties, sexes, tmp_path):
    """12 people lack the second phenotype, 4 of them males."""
    fam = [line.split() for line in Path(f"{sexes.bfile}.fam").read_text().splitlines()]
    left = {f[1] for s, n in (("1", 4), ("2", 11)) for f in [f for f in fam if f[4] == s][:n]}
    rows = [line.split("\t") for line in Path(sexes.pheno).read_text().splitlines()][1:]
    table = write_tsv(
        tmp_path / "p.tsv", ["#FID", "IID", "A", "B"], [[*r[:3], "NA" if r[1] in left else r[2]] for r in rows]
    )
    cohort = type(sexes)(sexes.bfile, str(table), sexes.covar)
    run = parties()
    run(cohort, openings="strict", chr="1")
    with pytest.raises(PolicyError, match="does not open these sums"):
        run(cohort, openings="strict", chr="Y")
    assert any("on Y and set 2, on Y: fewer than 10 people are only in" in line for line in run.log["genotypes"])


def test_columns_are_counted_where_they_are_summed(parties, sexes):
    """Four columns a variant, whatever the strata; on Y, of 185 males, a hundredth is one."""
    run = parties()
    with pytest.raises(PolicyError, match="columns of cohort cohort, Y: answered 0 of at most 1; 4 more"):
        run(sexes, pheno_name=("QT",), limit=None, chr=("1", "Y"))
    assert run.state()["spent"] == {}
    run(sexes, pheno_name=("QT",), limit=5)
    assert run.state()["spent"] == {"columns of cohort cohort": 5, "columns of cohort cohort, Y": 4}
    run(sexes, pheno_name=("QT",), limit=9, chr=("1", "MT"))
    assert run.state()["spent"] == {"columns of cohort cohort": 9, "columns of cohort cohort, Y": 4}


def test_few_males_are_refused_by_who_knows_where(parties, sexes, tmp_path):
    fam = [line.split() for line in Path(f"{sexes.bfile}.fam").read_text().splitlines()]
    males = [f[1] for f in fam if f[4] == "1"]
    rows = [line.split("\t") for line in Path(sexes.pheno).read_text().splitlines()][1:]
    table = write_tsv(
        tmp_path / "p.tsv", ["#FID", "IID", "QT"], [[*r[:2], "NA" if r[1] in males[12:] else r[2]] for r in rows]
    )
    run = parties()
    with pytest.raises(PolicyError, match=r"people would be analysed on Y: .* leave these variants out \(`chr`\)"):
        run(type(sexes)(sexes.bfile, str(table), sexes.covar))


@pytest.mark.parametrize(
    "value", [[], {"groups": []}, {"groups": [], "unit": 3}, {"groups": [], "unit": True}, {"groups": [], "unit": 1}]
)
def test_designs_that_are_none_end_the_session(value):
    with pytest.raises(ProtocolError, match="'bob' announced"):
        read_design(value, [VariantRun(2, 4, 1, True)], "bob")


VARIANTS = Variants(
    np.array(["1", "1", "X", "X", "Y"], object), np.arange(5), *(np.array(list("abcde"), object) for _ in range(3))
)


@pytest.mark.parametrize(
    "runs",
    [
        [], [[0, 2, 0]], [[0, 2, 0, 0], [1, 3, 1, 0]], [[0, 6, 0, 0]], [[2, 2, 0, 0]], [[-1, 2, 0, 0]], [[0, 2, 1, 0]],
        [[0, 2, 0, 0]], [[0, 2, 0, 1], [2, 4, 1, 0]], [[0, 2, 0, 0], [2, 5, 1, 1]], [[0, 2, 0, 0], [2, 4, 1, True]],
        [[0, 2, 0, 0], [2, 3, 1, 0], [3, 4, 1, 1]], [[2, 4, 1, 0], [0, 2, 0, 0]], "runs", [[0, 2, 0, 0], [2, 4, 1, 2]],
    ],
)  # fmt: skip
def test_runs_that_are_none_end_the_session(runs):
    class Peer:
        def receive_json(self, source, step):
            return {"strata": [{}, {}], "runs": runs}

    with pytest.raises(ProtocolError, match="'bob' announced malformed runs of variants"):
        hear(Peer(), "bob", "plan", VARIANTS)


def test_runs_of_which_some_are_doubled_are_heard():
    class Peer:
        def receive_json(self, source, step):
            return {"strata": [{}, {}], "runs": [[0, 2, 0, 0], [2, 4, 1, 1]]}

    assert hear(Peer(), "bob", "plan", VARIANTS)[1] == [VariantRun(0, 2), VariantRun(2, 4, 1, True)]


def test_runs_skip_what_the_phenotype_owner_leaves_out(sexes, tmp_path):
    """Predictions have no line for Y: the run of a chromosome ends before it and goes on after it."""
    chromosomes = np.array(["1", "1", "Y", "1", "MT", "2"], object)
    text = np.array([f"v{j}" for j in range(6)], object)
    ids = np.array([f"P{i:03d}" for i in range(50)], object)
    cohort = AnnouncedCohort(
        Samples(ids, ids, np.ones(50, bool), np.ones(50, np.int8)),
        Variants(chromosomes, np.arange(6), text, text, text),
        1,
        2,
    )
    loco = [
        " ".join(["FID_IID", *(f"{i}_{i}" for i in ids)]),
        *(" ".join([str(c), *["0.01"] * 50]) for c in range(1, 24)),
    ]
    (tmp_path / "q.loco").write_text("\n".join(loco) + "\n")
    (tmp_path / "pred.list").write_text(f"QT {tmp_path / 'q.loco'}\n")
    found = open_announced(
        Inputs(pheno=sexes.pheno, pheno_name=("QT",), pred=str(tmp_path / "pred.list")), cohort, lambda line: None
    )
    assert [(p.run.start, p.run.stop, p.first, p.stratum.name) for p in found.parts()] == [
        (0, 2, 0, "chr1"), (3, 4, 2, "chr1"), (5, 6, 3, "chr2"),
    ]  # fmt: skip


def test_receipts_say_what_several_designs_tell():
    for split, reveal in (("vertical", "aggregates"), ("vertical", "hits"), ("outsourced", "aggregates")):
        one, many = (
            mpc_receipt(split, [], reveal=reveal, threshold=5e-8, column_limit=9, several=several)
            for several in (False, True)
        )
        assert "on Y who is male" in many.parties[0].learns and "their sexes" in many.parties[1].learns
        assert "male" not in one.parties[0].learns and "sexes" not in one.parties[1].learns


@pytest.mark.parametrize("sex", [[1], [1, 3], [1, True], [1, 2.0], [1, "M"], [1, -1], [1, 1 << 70], None, 7])
def test_sexes_that_are_none_end_the_session(sex):
    told = {
        "samples": {"fid": ["a", "b"], "iid": ["a", "b"], "founder": [True, True], "sex": sex},
        "variants": {n: ["1"] for n in ("chromosome", "id", "effect_allele", "other_allele")} | {"position": [1]},
        "grid": 1, "largest": 2,
    }  # fmt: skip

    class Peer:
        def receive_json(self, source, step, limit):
            return told

    with pytest.raises(ProtocolError, match="party 'ada' announced"):
        receive_cohort(Peer(), "ada")
    told["samples"]["sex"] = [1, 0]
    assert receive_cohort(Peer(), "ada").samples.sex.tolist() == [1, 0]
    del told["samples"]["sex"]
    assert receive_cohort(Peer(), "ada").samples.sex.tolist() == [0, 0]


def test_who_counts_one_copy_is_said_by_the_genotype_owner_s_file(sexes):
    """The attack: sums with one person counted as a male and as a female differ by her genotype. Her sex is not the phenotype
    owner's to say: the genotype owner reads its own file."""
    reader, kinds = open_genotypes(Inputs(sexes.bfile, chr=("X",)), haploid=True), np.full(230, X, np.int8)
    one = int(np.flatnonzero(reader.samples.sex == 2)[0])
    sums = []
    for chosen in (2, 1):
        sex = reader.samples.sex.copy()
        sex[one] = chosen
        told = PloidyReader(Relabelled(reader, replace(reader.samples, sex=sex), reader.variants), kinds, 1)
        sums.append(told.read(0, 230).dosage.sum(axis=1, dtype=np.int64))
    np.testing.assert_array_equal(sums[0] - sums[1], reader.read(0, 230).dosage[:, one])
    ours = next(RunReader(reader).blocks(VariantRun(0, 230, 0, True), 230))[0].dosage.sum(axis=1, dtype=np.int64)
    np.testing.assert_array_equal(ours, sums[0])


@pytest.mark.parametrize("protected", [False, True])
def test_rows_of_two_designs_are_compared_too(parties, tmp_path, monkeypatch, protected):
    """The first variant of chromosome 2 is the last of chromosome 1 but for three people. With predictions each chromosome
    has a design, of the same people: the difference of two sums would be theirs."""
    rng, n = np.random.default_rng(8), 150
    g = rng.binomial(2, 0.4, (8, n)).astype(np.int8)
    g[4] = g[3]
    g[4, :3] = (g[3, :3] + 1) % 3
    write_plink(tmp_path / "c", g)
    people = [(f"F{i}", f"I{i}") for i in range(n)]
    table = write_tsv(
        tmp_path / "p.tsv", ["#FID", "IID", "QT"], [(*p, v) for p, v in zip(people, rng.normal(size=n), strict=True)]
    )
    age = write_tsv(
        tmp_path / "a.tsv", ["#FID", "IID", "AGE"], [(*p, v) for p, v in zip(people, rng.normal(size=n), strict=True)]
    )
    lines = [" ".join(["FID_IID", *(f"{f}_{i}" for f, i in people)])]
    lines += [" ".join([str(c), *rng.normal(scale=0.1, size=n).round(4).astype(str)]) for c in range(1, 24)]
    (tmp_path / "q.loco").write_text("\n".join(lines) + "\n")
    (tmp_path / "pred.list").write_text(f"QT {tmp_path / 'q.loco'}\n")
    if not protected:
        answer = aggregates._answer
        monkeypatch.setattr(aggregates, "_answer", lambda *a, **k: answer(*a[:8], [], **k))
    run = parties()
    found = read(run(Cohort(str(tmp_path / "c"), str(table), str(age)), openings="strict",
                     pred=str(tmp_path / "pred.list"))["QT.glm.linear"])  # fmt: skip
    assert found["#CHROM"].tolist() == [1] * 4 + [2] * 4
    assert found["ERRCODE"].tolist() == [".", ".", ".", ".", "FEW_CARRIERS" if protected else ".", ".", ".", "."]
