"""Files of other programs: genotypes, tables of people and variants, scoring files, sets, predictions, tables of results."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from genotype_files import write_bgen, write_pfile, write_vcf
from mutator import BYTES, JSON, TEXT
from support import genotypes, write_plink
from target import Target, changed

import securegen as sg
from securegen.engines.federated.projection import parse_loadings
from securegen.engines.federated.variants import read_variants, write_variants
from securegen.governance import consent_steps, pseudonyms
from securegen.io.genotypes import GenotypeFiles
from securegen.io.loco import read_offsets, read_prediction_list
from securegen.io.plink1 import read_plink
from securegen.io.store_urls import checked_url, is_url
from securegen.io.strict_json import read_json
from securegen.io.tables import read_header, read_ids, read_names, read_table
from securegen.io.text import text_of
from securegen.io.variant_sets import read_annotations, read_frequencies, read_masks, read_sets
from securegen.results.read import read_frame, read_people, read_results
from securegen.results.rows import read_sumstats
from securegen.scores.files import read_scorings
from securegen.scores.parts import SUMS, join_scores

PEOPLE, VARIANTS = 9, 12
PGS = (
    "###PGS CATALOG SCORING FILE\n#format_version=2.0\n#pgs_id=PGS000001\n#genome_build=GRCh38\n"
    "rsID\tchr_name\tchr_position\teffect_allele\tother_allele\teffect_weight\tis_dominant\tis_recessive\n"
)


def targets(folder: Path) -> list[Target]:
    url = Target("store-url", b"s3://bucket/biobank/study.cohort", _read_url, TEXT)
    return [*_genotypes(folder), *_tables(folder), *_parts_of_scores(folder / "parts"), url]


def _read_url(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    if is_url(text):
        checked_url(text)


def _parts_of_scores(folder: Path) -> Iterator[Target]:
    """The sums of one of two parts, and what its record says of them."""
    folder.mkdir()
    write_plink(folder / "c", genotypes(np.random.default_rng(5), VARIANTS, PEOPLE, missing=0.1))
    rows = "".join(f"rs{j}\tA\t{j / 7 - 1:.4f}\n" for j in range(VARIANTS))
    (folder / "s.tsv").write_text("ID\teffect_allele\teffect_weight\n" + rows)
    told = []
    for i in (1, 2):
        study = sg.scores.open(
            bfile=folder / "c", score=folder / "s.tsv", allow_small_score="SCORE1", min_variants=1, blocks=f"{i}/2"
        )
        results = sg.scores.run(study)
        results.write(folder / "p")
        told.append(results.record["score_part"])
    paths = [folder / f"p.{i}of2{SUMS}" for i in (1, 2)]
    yield changed("score-sums", paths[1], TEXT, lambda: join_scores(paths, told, {}))
    (folder / "facts.json").write_text(json.dumps(told[1]))

    def facts() -> object:
        return join_scores(paths, [told[0], read_json(folder / "facts.json", "a part")], {})

    yield changed("score-facts", folder / "facts.json", JSON, facts)


def _read_all(**named: object) -> None:
    reader = GenotypeFiles(**named).open().on_grid(None)
    reader.read(0, len(reader.variants))


def _genotypes(folder: Path) -> Iterator[Target]:
    dosage = genotypes(np.random.default_rng(5), VARIANTS, PEOPLE, missing=0.1)
    write_plink(folder / "c", dosage)
    reader = read_plink(folder / "c")
    real = np.where(dosage == -127, np.nan, dosage.astype(float))
    parts = (reader.samples, reader.variants)
    halves = np.where(np.isnan(real), np.nan, np.clip(real + 0.25, 0, 2))
    write_pfile(folder / "c", real, *parts)
    write_pfile(folder / "d", halves, *parts)
    write_vcf(folder / "c.vcf", real, *parts, fields="GT:DS")
    write_vcf(folder / "c.vcf.gz", real, *parts)
    write_vcf(folder / "c.bcf", real, *parts)
    write_bgen(folder / "c.bgen", real, *parts)
    write_bgen(folder / "d.bgen", halves, *parts, bits=16, compression="zstd", ids=True, phased=True)
    filesets = {"bfile": "bed bim fam", "pfile": "pgen pvar psam"}
    for flag, prefix, ends in (("bfile", "c", "bed bim fam"), ("pfile", "c", "pgen pvar psam"), ("pfile", "d", "pgen")):
        for end in ends.split():
            own = folder / f"{flag}-{prefix}-{end}"
            own.mkdir()
            for other in filesets[flag].split():
                shutil.copy(folder / f"{prefix}.{other}", own / f"x.{other}")
            kind = TEXT if end in ("bim", "fam", "pvar", "psam") else BYTES
            read = functools.partial(_read_all, **{flag: str(own / "x")})
            yield changed(f"{flag}-{end}" + "-dosage" * (prefix == "d"), own / f"x.{end}", kind, read)
    for name in ("c.vcf", "c.vcf.gz", "c.bcf"):
        kind = TEXT if name == "c.vcf" else BYTES
        yield changed(
            f"vcf-{name.replace('.', '-')}", folder / name, kind, lambda name=name: _read_all(vcf=str(folder / name))
        )
    sample = str(folder / "c.sample")
    yield changed("bgen", folder / "c.bgen", BYTES, lambda: _read_all(bgen=str(folder / "c.bgen"), sample=sample))
    yield changed("bgen-zstd", folder / "d.bgen", BYTES, lambda: _read_all(bgen=str(folder / "d.bgen")))
    own = shutil.copy(folder / "c.bgen", folder / "e.bgen")
    shutil.copy(sample, folder / "e.sample")
    yield changed(
        "sample", folder / "e.sample", TEXT, lambda: _read_all(bgen=str(own), sample=str(folder / "e.sample"))
    )


def _tables(folder: Path) -> Iterator[Target]:
    reader = read_plink(folder / "c")
    who = [(f"F{i}", f"I{i}") for i in range(PEOPLE)]
    sites = [(c, p, i, o, e) for c, p, i, o, e in zip(*(getattr(reader.variants, n) for n in (
        "chromosome", "position", "id", "other_allele", "effect_allele")), strict=True)]  # fmt: skip
    pheno = "#FID\tIID\tQT\tCC\tSEX\n" + "".join(
        f"{f}\t{i}\t{n / 7:.4f}\t{1 + n % 2}\tNA\n" for n, (f, i) in enumerate(who)
    )
    glm = "#CHROM\tPOS\tID\tREF\tALT\tA1\tTEST\tOBS_CT\tBETA\tSE\tT_STAT\tP\tERRCODE\n" + "".join(
        f"{c}\t{p}\t{i}\t{o}\t{e}\t{e}\tADD\t90\t0.{n}1\t0.2\t1.5\t{n + 1}e-{40 * n}\t.\n"
        for n, (c, p, i, o, e) in enumerate(sites)
    )
    regenie = "CHROM GENPOS ID ALLELE0 ALLELE1 A1FREQ INFO N TEST BETA SE CHISQ LOG10P EXTRA\n" + "".join(
        f"{c} {p} {i} {o} {e} 0.2{n} 1 90 ADD 0.1 0.2 2.5 {n}.5 NA\n" for n, (c, p, i, o, e) in enumerate(sites)
    )
    ssf = (
        "chromosome\tbase_pair_location\teffect_allele\tother_allele\tbeta\tstandard_error\teffect_allele_frequency\tp_value\n"
        + "".join(f"{c}\t{p}\t{e}\t{o}\t0.1\t0.2\t0.3\t0.0{n}5\n" for n, (c, p, i, o, e) in enumerate(sites))
    )
    plain = "ID\tA1\tSCORE\n" + "".join(f"{i}\t{e}\t0.0{n}1\n" for n, (c, p, i, o, e) in enumerate(sites))
    pgs = PGS + "".join(f"{i}\t{c}\t{p}\t{e}\t{o}\t-0.0{n}1\tFalse\tFalse\n" for n, (c, p, i, o, e) in enumerate(sites))
    loco = "FID_IID " + " ".join(f"{f}_{i}" for f, i in who) + "\n" + "".join(
        f"{c} {' '.join(f'0.{n}' for n in range(PEOPLE))}\n" for c in range(1, 24)
    )  # fmt: skip
    ids = [i for _, _, i, _, _ in sites]
    loadings = "#CHROM\tPOS\tID\tEFFECT_ALLELE\tOTHER_ALLELE\tFREQ\tPC1\tPC2\n" + "".join(
        f"{c}\t{p}\t{i}\t{e}\t{o}\t0.2\t0.1\t-0.3\n" for c, p, i, o, e in sites
    )
    sscore = "#FID\tIID\tALLELE_CT\tSCORE1_AVG\n" + "".join(f"{f}\t{i}\t18\t0.0{n}\n" for n, (f, i) in enumerate(who))
    consents = "FID\tIID\tDUO\tMODIFIERS\tDATE\n" + "".join(f"{f}\t{i}\tGRU\t\t2025-01-01\n" for f, i in who)
    (folder / "y.loco").write_text(loco)
    write_variants(folder / "variants.tsv", reader.variants)
    key, out, register = pseudonyms.make_key(folder / "p.key"), folder / "renamed", folder / "register.tsv"

    def renamed(path: Path) -> None:
        shutil.rmtree(out, ignore_errors=True)
        pseudonyms.make(key, [path], out)

    def imported(path: Path) -> None:
        register.unlink(missing_ok=True)
        for other in folder.glob("register.tsv.*"):
            other.unlink()
        consent_steps.import_table(register, path)

    texts: list[tuple[str, str, Callable[[Path], object]]] = [
        ("pheno", pheno, lambda p: (read_header(p), read_table(p))), ("keep", "".join(f"{f} {i}\n" for f, i in who), read_ids),
        ("names", "".join(f"{i}\n" for i in ids), read_names), ("glm", glm, read_results), ("glm-frame", glm, read_frame),
        ("regenie", regenie, read_results),
        ("gwas-ssf", ssf, read_sumstats), ("sscore", sscore, read_people), ("score-plain", plain, lambda p: read_scorings([p])),
        ("score-columns", plain, lambda p: read_scorings([p], (1, 2, 3))), ("score-pgs", pgs, lambda p: read_scorings([p])),
        ("loco", loco, lambda p: read_offsets(p, reader.samples)), ("pred-list", f"QT {folder}/y.loco\n", read_prediction_list),
        ("anno", "".join(f"{i} G1 LoF\n" for i in ids), lambda p: read_annotations(str(p), {"G1"})),
        ("set-list", f"G1 1 100 {','.join(ids)}\n", lambda p: read_sets(str(p))),
        ("mask-def", "M1 LoF\nM2 LoF,missense\n", lambda p: read_masks(str(p))),
        ("aaf", "".join(f"{i} 0.0{n}1\n" for n, i in enumerate(ids)), lambda p: read_frequencies(str(p), set(ids))),
        ("loadings", loadings, lambda p: parse_loadings(text_of(p.read_bytes(), p), p)),
        ("variants", (folder / "variants.tsv").read_text(), read_variants),
        ("pseudonyms", pheno, renamed), ("consent-table", consents, imported)
    ]  # fmt: skip
    for name, text, read in texts:
        path = folder / f"{name}.x"
        path.write_text(text)
        yield changed(name, path, TEXT, lambda path=path, read=read: read(path))
