"""Quality control alone: genotypes opened for its tables, with phenotypes only for controls."""

from __future__ import annotations

from collections.abc import Sequence

from securegen.study.checks import names, path, paths
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.opening import Genotypes, Names, Path, Study, named, qc_of


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
    prefix, reader = named(genotypes, bfile)
    inputs = Inputs(
        bfile=prefix,
        pheno=path("pheno", pheno),
        pheno_name=names("pheno_name", pheno_name),
        keep=path("keep", keep),
        remove=path("remove", remove),
        extract=path("extract", extract),
        exclude=path("exclude", exclude),
        chr=names("chr", chr),
        from_bp=from_bp,
        to_bp=to_bp,
        force_01=force_01,
        qc=True,
        hwe_controls=hwe_controls,
        pfile=paths("pfile", pfile),
        vcf=paths("vcf", vcf),
        bgen=paths("bgen", bgen),
        bfile_list=path("bfile_list", bfile_list) or "",
        pfile_list=path("pfile_list", pfile_list) or "",
        vcf_list=path("vcf_list", vcf_list) or "",
        bgen_list=path("bgen_list", bgen_list) or "",
        sample=path("sample", sample) or "",
        ref_last=ref_last,
        vcf_field=vcf_field,
        multiallelic=multiallelic,
        dosage_grid=dosage_grid,
        no_input_missing_phenotype=no_input_missing_phenotype,
        covar=path("covar", covar),
        split_par=split_par,
        sex_name=sex_name,
        purpose=purpose,
        consent=path("consent", consent),
        mondo=path("mondo", mondo),
        policy=path("policy", policy),
        identity=path("identity", identity),
        second_signature=names("second_signature", second_signature),
        blocks=blocks,
    )
    return qc_of(inputs, log, reader)
