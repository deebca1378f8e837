"""A simulated cohort of a study's public shape: files that any command reads. Needs securegen[twin]."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from securegen.errors import InputError, UsageError
from securegen.governance.audit_beside import record
from securegen.governance.twin import TwinShape, TwinSimulation, WantedFrequencies, load_msprime, people
from securegen.io.output import write_json, write_text
from securegen.io.plink1_writer import write_plink
from securegen.model import Variants
from securegen.record.run_log import read_records
from securegen.results.read import read_own, read_results
from securegen.study import checks
from securegen.study.inputs import Log, silent
from securegen.vocabulary import AUTOSOMES, canonical_chromosome

FORMAT = "securegen twin 1"
ENDINGS = ("bed", "bim", "fam", "pheno.tsv", "covar.tsv", "twin.json")


def twin(
    out: str | os.PathLike[str],
    *,
    samples: int | None = None,
    variants: int | None = None,
    chromosomes: int = 22,
    covariates: int | None = None,
    binary: bool | None = None,
    case_share: float = 0.5,
    missing_rate: float = 0.005,
    like: str | os.PathLike[str] | None = None,
    frequencies: str | os.PathLike[str] | None = None,
    seed: int = 0,
    log: Log = silent,
) -> list[str]:
    """Write OUT.bed, .bim, .fam, .pheno.tsv (Y), .covar.tsv (C1 …) and .twin.json of invented people; returns their names.

    samples, variants, chromosomes, covariates: numbers; binary: Y is 1 or 2, a share `case_share` of the people 2; missing_rate:
    share of calls and of traits; like: a finished run, whose run.json says how many samples, variants and covariates, and whether
    its trait has cases, where these are not given; frequencies: a released table, whose variants, alleles and frequencies are
    taken instead of `variants` and `chromosomes`; seed: the same gives the same bytes. Raises UsageError, InputError, and
    MissingExtraError without msprime.
    """
    load_msprime()
    shape, wanted = twin_plan(
        samples=samples, variants=variants, chromosomes=chromosomes, covariates=covariates, binary=binary, case_share=case_share,
        missing_rate=missing_rate, like=like, frequencies=frequencies,
    )  # fmt: skip
    prefix = os.fspath(out)
    simulation = TwinSimulation(shape, seed, wanted)
    everybody = people(shape)
    write_plink(prefix, everybody, simulation.blocks())
    trait, columns = simulation.traits()
    names = everybody.iid.tolist()
    text = ["NA" if np.isnan(v) else f"{v:g}" if shape.binary else f"{v:.5f}" for v in trait]
    _write_table(f"{prefix}.pheno.tsv", ["Y"], names, [[t] for t in text])
    header = [f"C{k + 1}" for k in range(shape.covariates)]
    _write_table(f"{prefix}.covar.tsv", header, names, [[f"{v:.5f}" for v in row] for row in columns])
    facts: dict[str, Any] = {
        "format": FORMAT, "note": "simulated: no line describes a person", "seed": seed, "shape": shape.to_json(),
        "msprime": load_msprime().__version__, "frequencies": wanted is not None,
    }  # fmt: skip
    if simulation.off:
        off = np.array(simulation.off)
        facts |= {"frequency_off_median": float(np.median(off)), "frequency_off_most": float(off.max())}
        log(f"frequencies differ from the table's by {np.median(off):.3f} in the median, {off.max():.3f} at most")
    write_json(f"{prefix}.twin.json", facts)
    record(prefix, "run", {"command": "twin", "phase": "end", "samples": shape.samples, "variants": shape.variants})
    return twin_files(prefix)


def twin_files(out: str) -> list[str]:
    """What `twin` writes."""
    return [f"{out}.{ending}" for ending in ENDINGS]


def twin_plan(
    *, samples: int | None, variants: int | None, chromosomes: int, covariates: int | None, binary: bool | None,
    case_share: float, missing_rate: float, like: str | os.PathLike[str] | None, frequencies: str | os.PathLike[str] | None,
) -> tuple[TwinShape, WantedFrequencies | None]:  # fmt: skip
    """The shape that is asked for, and the frequencies of a table. Raises as `twin`."""
    checks.number("case_share", case_share, 0, 1)
    checks.number("missing_rate", missing_rate, 0, 1)
    told = _shape_of(os.fspath(like)) if like is not None else {}
    wanted = read_frequencies(os.fspath(frequencies)) if frequencies is not None else None
    if wanted is not None:
        if variants is not None:
            raise UsageError("`frequencies` says which variants there are: leave `variants` out")
        variants, chromosomes = len(wanted.variants), len(set(wanted.variants.chromosome.tolist()))
    given = {"samples": samples, "variants": variants, "covariates": covariates, "binary": binary}
    chosen = told | {name: value for name, value in given.items() if value is not None}
    if not {"samples", "variants"} <= chosen.keys():
        raise UsageError("say how many: `samples` and `variants`, or the run that it is to be like (`like`)")
    chosen = {"covariates": 0, "binary": False} | chosen
    return TwinShape(
        chromosomes=chromosomes, case_share=float(case_share), missing_rate=float(missing_rate), **chosen
    ), wanted


def read_frequencies(path: str) -> WantedFrequencies:
    """Variants and frequencies of a table of results or of quality control (.afreq, which has no positions: they are made up).

    Rows without a frequency, and those on no autosome, are left out. Raises InputError where there is none.
    """
    frame = read_own(path) if path.removesuffix(".gz").endswith(".afreq") else read_results(path)
    column = next((c for c in ("A1_FREQ", "ALT_FREQS") if c in frame), None)
    if column is None:
        raise InputError(f"{path} has no column of frequencies: A1_FREQ or ALT_FREQS")
    absent = [name for name in ("REF", "ALT") if name not in frame]
    if absent:
        raise InputError(f"{path} has no column {', '.join(absent)}: a twin has the alleles of its variants")
    effect = frame["A1" if column == "A1_FREQ" and "A1" in frame else "ALT"].astype(str)
    other = frame["REF"].astype(str).where(frame["REF"].astype(str) != effect, frame["ALT"].astype(str))
    text = frame[column].astype(str)
    try:
        frequency = text.where(~text.isin(["NA", "nan"]), "nan").astype(np.float64).to_numpy()
    except ValueError:
        raise InputError(f"{path}: column {column} holds something else than numbers") from None
    autosome = np.array([canonical_chromosome(c) in AUTOSOMES for c in frame["#CHROM"].astype(str).tolist()], bool)
    told = np.isfinite(frequency) & autosome
    if not told.any() or ((frequency[told] < 0) | (frequency[told] > 1)).any():
        raise InputError(
            f"{path}: {column} holds no frequency between 0 and 1" if told.any() else f"{path}: no frequencies"
        )
    position = frame["POS"].to_numpy(np.int64) if "POS" in frame else 1_000 * (1 + np.arange(len(frame)))
    found = Variants(
        frame["#CHROM"].astype(str).to_numpy(object), position, frame["ID"].astype(str).to_numpy(object),
        effect.to_numpy(object), other.to_numpy(object),
    )  # fmt: skip
    order = {name: i for i, name in enumerate(dict.fromkeys(found.chromosome.tolist()))}  # each chromosome in one piece
    by_chromosome = np.argsort([order[c] for c in found.chromosome.tolist()], kind="stable")
    kept = by_chromosome[told[by_chromosome]]
    return WantedFrequencies(found.take(kept), frequency[kept])


def _shape_of(prefix: str) -> dict[str, Any]:
    """Samples, variants, covariates and the kind of the trait, of the record of a run."""
    name = f"{prefix.removesuffix('.run.json')}.run.json"
    try:
        records = read_records(name)
    except FileNotFoundError:
        raise InputError(f"{name}: no such file; name what a finished run was given as out") from None
    ran = next((r for r in records if r.get("samples") and r.get("variants")), None)
    if ran is None:
        raise InputError(f"{name} does not say how many samples and variants there were")
    outputs = [str(p) for p in ran.get("outputs") or []]
    binary = any(word in p for p in outputs for word in (".glm.logistic", ".trend", ".allelic"))
    return {
        "samples": int(ran.get("samples_stored") or ran["samples"]), "variants": int(ran["variants"]),
        "covariates": int(ran.get("covariates") or 0), "binary": binary,
    }  # fmt: skip


def _write_table(path: str | Path, header: list[str], names: list[str], rows: list[list[str]]) -> None:
    lines = ["\t".join(["#FID", "IID", *header])]
    lines += ["\t".join([name, name, *row]) for name, row in zip(names, rows, strict=True)]
    write_text(path, "\n".join(lines) + "\n")
