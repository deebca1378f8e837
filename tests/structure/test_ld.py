"""Correlations, clumps and credible sets: against plink 1.9, rationals, mpmath and scipy's reader."""

import gzip
import io
import json
from fractions import Fraction

import mpmath
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats
from support import MemoryReader, left, securegen, write_tsv

import securegen as sg
from securegen.errors import DesignError, InputError, UsageError
from securegen.kernels.variant_pairs import pair_counts, variant_bits
from securegen.model import GenotypeBlock, Variants
from securegen.python.ld import write
from securegen.stats.credible import credible_set, log_bayes_factor, trait_variance
from securegen.stats.haplotypes import haplotype_r2
from securegen.structure import clump, ld

from .conftest import WHOLE, unpacked

REGION = {"chr": "1", "from_bp": 2_800_000, "to_bp": 3_000_000}


@pytest.fixture(scope="module")
def tables(whole, tmp_path_factory):
    """Results of both traits with all covariates, of which plink 1.9 made clumps."""
    study = sg.open_study(whole.bfile, pheno=whole.pheno, covar=whole.covar)
    return sg.run(study, out=tmp_path_factory.mktemp("tables") / "t").paths


def exact_r(a, b, missing_a, missing_b):
    """r² as a rational and its sign, over the people who have both; None where one of the two is constant."""
    both = ~missing_a & ~missing_b
    x, y = a[both].tolist(), b[both].tolist()
    n = len(x)
    cover = n * sum(p * q for p, q in zip(x, y, strict=True)) - sum(x) * sum(y)
    spread = (n * sum(p * p for p in x) - sum(x) ** 2) * (n * sum(q * q for q in y) - sum(y) ** 2)
    return None if spread == 0 else (Fraction(cover * cover, spread), np.sign(cover))


@pytest.mark.parametrize(("grid", "lost"), [(1, 0.0), (1, 0.2), (256, 0.2)])
def test_r_is_that_of_rationals_however_it_is_cut(monkeypatch, grid, lost):
    """To two roundings of a division and a root: r² within 4 units in the last place of the rational."""
    rng = np.random.default_rng(7)
    g = rng.integers(0, 2 * grid + 1, (11, 23)).astype(np.int8 if grid == 1 else np.int16)
    g[3] = g[2]
    g[rng.random(g.shape) < lost] = -1
    reader = MemoryReader(g, grid)
    whole = np.concatenate([s.r for s in ld.correlations(reader)])
    for name, value in (("STRIP", 4), ("BLOCK", 3), ("PEOPLE", 5)):
        monkeypatch.setattr(ld, name, value)
    strips = list(ld.correlations(reader))
    assert [s.start for s in strips] == [0, 4, 8]
    np.testing.assert_array_equal(np.concatenate([s.r for s in strips]), whole)
    np.testing.assert_array_equal(whole, whole.T)
    for i in range(11):
        for j in range(11):
            r2, sign = exact_r(g[i], g[j], g[i] < 0, g[j] < 0)
            assert abs(Fraction(whole[i, j]) ** 2 - r2) <= 8 * r2 * Fraction(2) ** -52 and np.sign(whole[i, j]) == sign
    assert (whole.diagonal() == 1).all()


def test_bits_and_products_have_the_same_sums():
    rng = np.random.default_rng(9)
    for people in (1, 64, 65, 20_000):
        g = rng.integers(0, 3, (5, people)).astype(np.int8)
        missing = rng.random(g.shape) < 0.1
        g[missing] = 0
        for lost in (missing, None):
            a, b = (GenotypeBlock(0, part, None if lost is None else lost[: len(part)]) for part in (g, g[:3]))
            for one, other in zip(ld._hard(a, b), ld._sums(a, b), strict=True):
                np.testing.assert_array_equal(*np.broadcast_arrays(one, other))
    with pytest.raises(ValueError, match="do not fit"):
        pair_counts(variant_bits(g, None), variant_bits(g[:, :64], None))
    with pytest.raises(ValueError, match="int8"):
        variant_bits(g.astype(np.int16), None)


def test_r_of_a_region_is_plinks_in_every_digit_and_polyfun_reads_it(whole, tmp_path):
    out = tmp_path / "r"
    done = securegen(
        "ld", "--bfile", whole.bfile, "--chr", "1", "--from-bp", "2800000", "--to-bp", "3000000", "--out", out
    )
    assert done.code == 0
    theirs = unpacked(WHOLE / "plink19.r.gz").rstrip().replace("\t", " ").splitlines()
    assert [line.rstrip() for line in (tmp_path / "r.ld").read_text().splitlines()] == [t.rstrip() for t in theirs]
    half = sparse.load_npz(tmp_path / "r.npz").toarray()  # as PolyFun's load_ld_npz
    frame = sg.ld(sg.Inputs(whole.bfile, **REGION))
    np.testing.assert_array_equal(half + half.T, frame.to_numpy())
    assert (half.diagonal() == 0.5).all() and np.triu(half, 1).any() == 0
    named = pd.read_csv(tmp_path / "r.gz", sep=r"\s+")
    assert named.columns.tolist() == ["rsid", "chromosome", "position", "allele1", "allele2"]
    assert named["rsid"].tolist() == frame.columns.tolist() and len(named) == 37
    assert gzip.decompress((tmp_path / "r.gz").read_bytes()) == (tmp_path / "r.z").read_bytes()
    first = (tmp_path / "r.npz").read_bytes()
    assert not (tmp_path / "r.r2").exists()
    write(sg.Inputs(whole.bfile, **REGION), str(out), squares=True, digits=17)
    text = (tmp_path / "r.r2").read_text().splitlines()
    np.testing.assert_array_equal([list(map(float, line.split(" "))) for line in text], frame.to_numpy() ** 2)
    assert (tmp_path / "r.npz").read_bytes() == first


def scanned(whole, phenotype):
    """Columns of a table of correlation tests, P with four digits: what plink 1.9 was given (tests/gold/SOURCES.md)."""
    reader = sg.read_plink(whole.bfile)
    block, v = reader.read(0, len(reader.variants)), reader.variants
    pheno = pd.read_csv(whole.pheno, sep="\t", na_values=["NA"]).set_index("IID").loc[reader.samples.iid.astype(str)]
    y = pheno[phenotype].to_numpy(float)
    called = (np.zeros(block.dosage.shape, bool) if block.missing is None else ~block.missing) & np.isfinite(y)
    g, y = np.where(called, block.dosage, 0).astype(float), np.nan_to_num(y) - np.nanmean(y)
    n = called.sum(axis=1)
    mean = g.sum(axis=1) / n
    variance = (g * g).sum(axis=1) / n - mean**2
    beta = (g @ y - mean * (called @ y)) / n / variance
    se = np.sqrt((called @ (y * y)) / n / variance / n)
    p = [f"{x:.4g}" for x in stats.chi2.sf((beta / se) ** 2, 1)]
    columns = (v.chromosome, v.position, v.id, v.other_allele, v.effect_allele, v.effect_allele, n, beta, se, p)
    names = ("#CHROM", "POS", "ID", "REF", "ALT", "A1", "OBS_CT", "BETA", "SE", "P")
    return pd.DataFrame(dict(zip(names, columns, strict=True)))


@pytest.mark.parametrize("phenotype", ["QT", "CC"])
def test_clumps_are_those_of_plink19(whole, tmp_path, phenotype):
    scanned(whole, phenotype).to_csv(tmp_path / "t.tsv", sep="\t", index=False)
    sg.clump(sg.Inputs(whole.bfile), tmp_path / "t.tsv", tmp_path / "c", p1=0.01, p2=0.05, r2=0.1, kb=500)
    ours = pd.read_csv(tmp_path / "c.clumps", sep="\t")
    theirs = pd.read_csv(io.StringIO(unpacked(WHOLE / f"plink19.{phenotype}.clumped.gz")), sep=r"\s+")
    theirs["SP2"] = theirs["SP2"].str.replace("(1)", "").replace("NONE", ".")
    names = ["CHR", "SNP", "BP", "TOTAL", "NSIG", "S05", "S01", "S001", "S0001", "SP2"]
    own = ["#CHROM", "ID", "POS", "TOTAL", "NONSIG", "S0.05", "S0.01", "S0.001", "S0.0001", "SP2"]
    assert len(ours) > 200 and ours[own].to_numpy().tolist() == theirs[names].to_numpy().tolist()
    np.testing.assert_allclose(ours["P"], theirs["P"], rtol=0.006)  # which has three digits


def test_a_table_of_p_alone_has_clumps(whole, tables, tmp_path):
    """As those of trend and allelic tests, which have no effects per copy."""
    frame = pd.read_csv(tables["QT"], sep="\t", dtype=str)
    frame[["#CHROM", "POS", "ID", "REF", "ALT", "A1", "P"]].to_csv(tmp_path / "p.tsv", sep="\t", index=False)
    for name, table in (("a", tables["QT"]), ("b", tmp_path / "p.tsv")):
        sg.clump(sg.Inputs(whole.bfile, chr="2"), table, tmp_path / name)
    drop = lambda name: pd.read_csv(tmp_path / name, sep="\t").drop(columns=["P", "LOG10_P"])  # noqa: E731
    pd.testing.assert_frame_equal(drop("a.clumps"), drop("b.clumps"))


def test_a_clump_takes_by_distance_by_r2_and_once():
    rng = np.random.default_rng(3)
    g = rng.integers(0, 3, (6, 60)).astype(np.int8)
    g[1:5] = g[0]
    g[5] = 1  # constant: in no clump but its own
    log10p = np.array([5.0, 9.0, 3.0, 5.0, np.nan, 6.0])
    reader = MemoryReader(g)  # a base pair apart
    found = clump.clumps(reader, log10p, clump.Rules(p1=1e-4, r2=0.5, kb=1))
    assert [(c.index, c.others.tolist()) for c in found] == [(1, [0, 2, 3]), (5, [])]
    for kb in (0.0015, 0.002):  # plink 1.9 leaves out what lies exactly so far
        near = clump.clumps(reader, log10p, clump.Rules(p1=1e-4, r2=0.5, kb=kb))
        assert [(c.index, c.others.tolist()) for c in near] == [(1, [0, 2]), (5, []), (3, [])]
    for rules in (clump.Rules(p1=1e-4, kb=0), clump.Rules(p1=1e-4, r2=1, kb=1)):
        assert [c.index for c in clump.clumps(reader, log10p, rules)] == [1, 5, 0, 3]
    np.testing.assert_array_equal(found[0].r2, [1, 1, 1])
    assert clump.Clump(0, np.arange(5), np.ones(5)).counts(np.array([0.0, 1.31, 2.01, 3.01, 4.01])) == (1, 1, 1, 1, 1)


def test_clumps_of_dosages_go_by_the_squared_correlation():
    rng = np.random.default_rng(5)
    g = rng.integers(0, 513, (5, 40)).astype(np.int16)
    g[rng.random(g.shape) < 0.1] = -1
    reader = MemoryReader(g, 256)
    r = np.concatenate([s.r for s in ld.correlations(reader)])
    np.testing.assert_array_equal(clump.r2_with(reader, 2, np.array([0, 3, 4])), r[2, [0, 3, 4]] ** 2)


def test_haplotype_frequencies_are_the_most_likely_ones():
    """Over tables of few people, where a likelihood has two maxima, no point of a fine grid is better."""
    rng = np.random.default_rng(11)
    counts = np.concatenate([rng.integers(0, 4, (300, 3, 3)), rng.integers(0, 60, (100, 3, 3))])
    counts[:50, [0, 0, 2, 2], [0, 2, 0, 2]] = 0
    for c, r2 in zip(counts.astype(float), haplotype_r2(counts), strict=True):
        total, h = 2 * c.sum(), c[1, 1]
        k = [
            2 * c[0, 0] + c[0, 1] + c[1, 0],
            2 * c[0, 2] + c[0, 1] + c[1, 2],
            2 * c[2, 0] + c[1, 0] + c[2, 1],
            2 * c[2, 2] + c[1, 2] + c[2, 1],
        ]
        first, second = (k[0] + k[1] + h) / total, (k[0] + k[2] + h) / total
        if min(first, second) == 0 or max(first, second) == 1:
            assert np.isnan(r2)
            continue
        room = first * (1 - first) * second * (1 - second)

        def likelihood(x, k=k, h=h):
            q = np.array([k[0] + x, k[1] + h - x, k[2] + h - x, k[3] + x])
            with np.errstate(divide="ignore", invalid="ignore"):
                parts = [np.where(s > 0, s * np.log(v), 0) for s, v in zip(k, q, strict=True)]
                return sum(parts) + (h * np.log(q[0] * q[3] + q[1] * q[2]) if h else 0)

        d = np.sqrt(r2 * room)
        mine = [(first * second + sign * d) * total - k[0] for sign in (1, -1)]
        best = max(float(likelihood(np.float64(x))) for x in mine if -1e-6 <= x <= h + 1e-6)
        assert best >= likelihood(np.linspace(0, h, 401)).max() - 1e-9 * total


def test_bayes_factors_and_sets_are_those_of_exact_formulas():
    rng = np.random.default_rng(1)
    beta, se = rng.normal(0, 0.3, 40), rng.uniform(0.05, 0.2, 40)
    beta[7] = 8.0  # ln of its factor is above 500
    with mpmath.workdps(40):
        w = mpmath.mpf("0.04")
        factor = []
        for b, s in zip(beta.tolist(), se.tolist(), strict=True):
            share = w / (mpmath.mpf(s) ** 2 + w)
            factor.append(mpmath.sqrt(1 - share) * mpmath.exp(share * (mpmath.mpf(b) / s) ** 2 / 2))
        ours = log_bayes_factor(beta, se, 0.04)
        assert all(abs(mpmath.log(f) - o) <= 1e-13 * (1 + abs(o)) for f, o in zip(factor, ours.tolist(), strict=True))
        total = sum(factor)
        found = credible_set(beta, se, 0.04, 0.95)
        assert all(
            abs(p - f / total) <= 1e-11 * (f / total) + 1e-300
            for p, f in zip(found.probability.tolist(), factor, strict=True)
        )
    assert found.index.tolist() == [7]
    small = credible_set(beta[:7], se[:7], 0.04, 0.95)
    order = np.argsort(-small.probability)
    sums = np.cumsum(small.probability[order])
    assert small.index.tolist() == order[: len(small.index)].tolist() and len(small.index) > 1
    assert sums[len(small.index) - 1] >= 0.95 > sums[len(small.index) - 2]
    assert credible_set(beta, se, 0.04, 1.0).cumulative[-1] <= 1


def test_a_prior_far_wider_than_an_error_leaves_a_factor_a_number():
    """1 − W/(SE² + W) is below what float64 tells from 0, and its logarithm was −∞: the variant was in no set."""
    beta, se = np.array([0.1, 0.1]), np.array([1e-3, 1e-2])
    with mpmath.workdps(40):
        w = mpmath.mpf(10) ** 12
        exact = [(mpmath.log(1 - w / (s * s + w)) + w / (s * s + w) * (b / s) ** 2) / 2
                 for b, s in zip(map(mpmath.mpf, beta.tolist()), map(mpmath.mpf, se.tolist()), strict=True)]  # fmt: skip
    np.testing.assert_allclose(log_bayes_factor(beta, se, 1e12), [float(f) for f in exact], rtol=1e-13)
    assert credible_set(beta, se, 1e12, 0.95).index.tolist() == [0]


def test_the_prior_of_a_linear_table_is_of_its_trait(whole, tables, tmp_path):
    """0.15² of the variance of the trait: Σ(y − ȳ)² = Σ(g − ḡ)²·((n − 2)SE² + β²) in one regression."""
    rng = np.random.default_rng(4)
    g, n = np.repeat([0.0, 1.0, 2.0], [25, 50, 25]), 100
    y = 0.4 * g + rng.normal(0, 3, n)
    slope = ((g - 1) * y).sum() / 50
    se2 = ((y - y.mean() - slope * (g - 1)) ** 2).sum() / (n - 2) / 50
    one = (np.array([slope]), np.array([se2**0.5]), np.array([0.5]), np.array([100.0]))
    assert trait_variance(*one) == pytest.approx(y.var() + se2, rel=1e-12)
    frame = pd.read_csv(tables["QT"], sep="\t")
    ours = trait_variance(*(frame[name].to_numpy(float) for name in ("BETA", "SE", "A1_FREQ", "OBS_CT")))
    made = sg.clump(sg.Inputs(whole.bfile, chr="5"), tables["QT"], tmp_path / "c", window=50)
    assert made.facts["prior_variance"] == pytest.approx(0.15**2 * ours, rel=1e-12)
    binary = sg.clump(sg.Inputs(whole.bfile, chr="5"), tables["CC"], tmp_path / "b", p1=0.01, window=50)
    assert binary.facts["prior_variance"] == pytest.approx(0.04)


def test_regions_are_windows_around_index_variants_and_effects_are_of_the_counted_allele(whole, tables, tmp_path):
    """A table whose A1 is the other allele gives the same .z and the same sets."""
    frame = pd.read_csv(tables["QT"], sep="\t", dtype=str, keep_default_na=False)
    frame.loc[frame["ID"] == "rs1_2920957", ["BETA", "SE", "P"]] = "NA"
    frame.to_csv(tmp_path / "a.tsv", sep="\t", index=False)
    turned = frame.rename(columns={"REF": "ALT", "ALT": "REF"}).assign(
        A1=frame["REF"], BETA=["NA" if b == "NA" else b[1:] if b[0] == "-" else f"-{b}" for b in frame["BETA"]]
    )
    turned.to_csv(tmp_path / "b.tsv", sep="\t", index=False)
    for name in "ab":
        made = sg.clump(sg.Inputs(whole.bfile, chr="1"), tmp_path / f"{name}.tsv", tmp_path / name, p1=1e-3, window=100)
    region = made.facts["regions"][0]
    assert region["index"] == ["rs1_2939777", "rs1_3164164", "rs1_3165146"] or len(region["index"]) >= 1
    variants = sg.read_plink(whole.bfile).variants
    index = [variants.position[variants.id.tolist().index(i)] for i in region["index"]]
    z = [pd.read_csv(tmp_path / f"{name}.1.z", sep=" ") for name in "ab"]
    assert z[0]["position"].min() >= min(index) - 100_000 and z[0]["position"].max() <= max(index) + 100_000
    assert z[0].columns.tolist()[5:] == ["maf", "beta", "se"] and "rs1_2920957" not in set(z[0]["rsid"])
    pd.testing.assert_frame_equal(z[0], z[1])
    kept = frame.set_index("ID").loc[z[0]["rsid"]]
    np.testing.assert_allclose(z[0]["beta"], kept["BETA"].astype(float), rtol=1e-5)
    assert (tmp_path / "a.credible").read_text() == (tmp_path / "b.credible").read_text()
    sets = pd.read_csv(tmp_path / "a.credible", sep="\t")
    assert all(part["PIP_SUM"].iloc[-1] >= 0.95 for _, part in sets.groupby("REGION"))


def test_what_is_not_defined_is_said_and_constants_are_left_out(tmp_path):
    from support import write_plink

    rng = np.random.default_rng(2)
    g = rng.integers(0, 3, (5, 30)).astype(np.int8)
    g[0] = 1  # the same in everybody
    g[1], g[1, 4] = 0, 1  # one carrier, who lacks the next call
    g[2, 4] = -127
    write_plink(tmp_path / "c", g)
    log: list[str] = []
    r = sg.ld(sg.Inputs(str(tmp_path / "c")), log=log.append)
    assert r.shape == (4, 4) and r.iloc[0, 1] == 0 == r.iloc[1, 0] and r.iloc[0, 2] != 0
    assert any("1 variant the same in everybody: left out" in line for line in log)
    assert any("r of 1 pair is not defined" in line for line in log)


def test_what_cannot_be_right_is_refused_before_a_file_is_written(whole, tables, tmp_path, monkeypatch):
    inputs = sg.Inputs(whole.bfile, chr="1")
    for wrong in ({"p1": 2}, {"r2": "0.5"}, {"kb": -1}, {"window": -1}, {"coverage": 2, "window": 5}, {"coverage": 0.9},
                  {"prior_variance": 0.1}, {"window": 5, "prior_variance": 0.0}, {"digits": 2},
                  {"squares": 1}, {"squares": True}):  # fmt: skip
        with pytest.raises(UsageError):
            sg.clump(inputs, tables["QT"], tmp_path / "x", **wrong)
    for command in (sg.ld, sg.kinship, sg.pca):
        with pytest.raises(UsageError, match="`blocks` 1/2"):
            command(sg.Inputs(whole.bfile, blocks="1/2"))
    with pytest.raises(UsageError, match="for a table"):
        write(inputs, str(tmp_path / "x"), window=5.0)
    stranger = write_tsv(tmp_path / "t.tsv", ("#CHROM", "POS", "ID", "REF", "ALT", "A1", "OBS_CT", "BETA", "SE", "P"),
                         [("9", 1, "zz", "A", "C", "C", 5, 1, 1, 0.5)])  # fmt: skip
    with pytest.raises(InputError, match="no variant in common"):
        sg.clump(inputs, stranger, tmp_path / "x")
    bare = pd.read_csv(tables["QT"], sep="\t", dtype=str)[["#CHROM", "POS", "ID", "REF", "ALT", "A1", "P"]]
    bare.to_csv(tmp_path / "p.tsv", sep="\t", index=False)
    with pytest.raises(InputError, match="no column BETA, SE, OBS_CT: credible sets"):
        sg.clump(inputs, tmp_path / "p.tsv", tmp_path / "x", window=5)
    silent = pd.read_csv(tables["QT"], sep="\t", dtype=str).drop(columns="T_STAT")
    silent.to_csv(tmp_path / "s.tsv", sep="\t", index=False)
    with pytest.raises(UsageError, match="prior_variance"):
        sg.clump(inputs, tmp_path / "s.tsv", tmp_path / "x", window=5)
    monkeypatch.setattr("securegen.structure.fine_mapping.LARGEST", 36)
    with pytest.raises(UsageError, match="37 variants, and a matrix may have 36"):
        sg.ld(sg.Inputs(whole.bfile, **REGION))
    big = MemoryReader(np.zeros((1, 2000), np.int16), 1 << 21)
    with pytest.raises(DesignError, match="63 bits"):
        ld.refuse_inexact(big)
    assert [f for f in left(tmp_path) if f.startswith("x")] == []


def test_the_command_says_what_it_wrote(whole, tables, tmp_path):
    out = tmp_path / "c"
    words = ("ld", "--bfile", whole.bfile, "--chr", "5", "--clump", tables["QT"], "--ld-window", "50", "--out", out)
    assert securegen(*words, "--dry-run").code == 0 and left(tmp_path) == []
    assert securegen(*words).code == 0
    record = json.loads((tmp_path / "c.run.json").read_text())
    assert record["clumps"] >= 1 and record["regions"][0]["files"] == "c.1" and record["credible"]
    assert {"c.clumps", "c.credible", "c.1.ld", "c.1.npz", "c.1.z", "c.1.gz"} <= set(left(tmp_path))


def test_variants_of_a_table_name_the_counted_allele():
    from securegen.python.aligned import variants_of

    frame = pd.DataFrame({"#CHROM": ["1"], "POS": [5], "ID": ["a"], "REF": ["A"], "ALT": ["C"], "A1": ["A"]})
    assert variants_of(frame, "t").other_allele.tolist() == ["C"] and isinstance(variants_of(frame, "t"), Variants)
