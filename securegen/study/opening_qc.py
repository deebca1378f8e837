"""Quality control alone: genotypes opened for its tables, with phenotypes only for controls."""

from __future__ import annotations

from collections.abc import Sequence

from securegen.study.inputs import Log, silent
from securegen.study.opening import Genotypes, Names, Path, Study, inputs_of, qc_of


def open_qc(
    genotypes: Genotypes = "",
    /,
    *,
    hwe_controls: bool = False,
    pheno: Path | None = None,
    pheno_name: Names | None = None,
    force_01: bool = False,
    no_input_missing_phenotype: bool = False,
    covar: Path | None = None,
    split_par: str | None = None,
    sex_name: str | None = None,
    policy: Path | None = None,
    identity: Path | None = None,
    visa: Names | None = None,
    second_signature: Names | None = None,
    keep: Path | None = None,
    remove: Path | None = None,
    extract: Path | None = None,
    exclude: Path | None = None,
    chr: Names | None = None,
    from_bp: int | None = None,
    to_bp: int | None = None,
    blocks: str | None = None,
    purpose: str | None = None,
    consent: Path | None = None,
    mondo: Path | None = None,
    bfile: Path | Sequence[Path] = "",
    pfile: Path | Sequence[Path] = "",
    vcf: Path | Sequence[Path] = "",
    bgen: Path | Sequence[Path] = "",
    bfile_list: Path | None = None,
    pfile_list: Path | None = None,
    vcf_list: Path | None = None,
    bgen_list: Path | None = None,
    sample: Path = "",
    ref_last: bool = False,
    vcf_field: str | None = None,
    multiallelic: str | None = None,
    dosage_grid: int | None = None,
    log: Log = silent,
) -> Study:
    """Open genotypes for quality control alone; keywords and errors as `open_study`, phenotypes only for hwe_controls."""
    inputs, reader = inputs_of(dict(locals()), qc=True)
    return qc_of(inputs, log, reader)
