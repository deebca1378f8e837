"""A federated study step by step, each role on its own machine, as the command line and Python take it.

The coordinator: `init`, `continue_study`. A site: `keygen`, `variant_list`, `join`, `run_site`, `leave`. Whoever has the
folder: `progress`. Who learns what: the study file says it (`studyfile.opened_by`), and the receipt of a site's run.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

from securegen.catalogue import NONE
from securegen.design.column_bits import MAXIMUM_BITS
from securegen.engines.federated import hub, leaving, site, study_toml, studyfile, variants
from securegen.engines.federated.chosen_variants import analysed, block_size, component_ids
from securegen.engines.federated.continuing import continue_study as continue_study
from securegen.engines.federated.joining import COORDINATOR as COORDINATOR
from securegen.engines.federated.joining import SITE_KEY as SITE_KEY
from securegen.engines.federated.joining import fingerprints as fingerprints
from securegen.engines.federated.joining import join as join
from securegen.engines.federated.joining import own_key
from securegen.engines.federated.joining import site_of as site_of
from securegen.engines.federated.joining import unheard as unheard
from securegen.engines.federated.own_policy import site_of_key
from securegen.engines.federated.study_folder import refuse_written, write_folder
from securegen.engines.federated.study_sets import sets_of
from securegen.engines.federated.studyfile import StudyFile
from securegen.errors import UsageError
from securegen.governance import signing
from securegen.governance.audit_beside import key_used
from securegen.governance.gate import Asking, gate_of
from securegen.governance.openings import ALL, FEWEST, STRICT, WITHHOLD
from securegen.io.genotypes import FIELDS, FORMATS
from securegen.io.output import private_folder
from securegen.model import Variants
from securegen.stats.qc import Filters
from securegen.study import ploidy
from securegen.study.checks import names, path
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import ASKING, NOISE, P_THRESH, PLINK2, REGENIE, Inputs, Log, silent
from securegen.study.mask_options import parse_bins

_OF_A_SITE = {
    *FIELDS, "pheno", "covar", "keep", "remove", "sex_name", "pred", "consent", "mondo", "generalise", *ASKING, *NOISE,
}  # fmt: skip
Name = str | Path


def keygen(state: Name, public: Name, *, passphrase: bytes | None = None, policy: Name | None = None) -> str:
    """Make a site's signing key in its private folder, and write its public half. Returns the fingerprint.

    policy: the file that governs this site, by default one in `state`: the key and the study then name it, and the site takes
    part under it alone. A run that was killed before it wrote `public` is ended. Raises StorageError where both are there
    already, KeyFileError for a weak passphrase, and for another than that of the key which is there.
    """
    private_folder(Path(state))
    pin = gate_of("federated", Asking(policy), [state]).pin
    named = None if pin is None else pin.to_json()
    made, path = replace(signing.generate(), policy=named), Path(state) / SITE_KEY
    begun = os.path.lexists(path) and not os.path.lexists(public)
    if begun and (kept := signing.read_identity(path, passphrase=passphrase)).policy == named:
        made = kept
    else:
        key_used(state, "made", signing.key_digest(made.verify_key))
        signing.write_identity(path, made, passphrase=passphrase)
    signing.write_verify_key(public, made)
    return signing.fingerprint(made.verify_key)


def variant_list(inputs: Inputs, out: Name, *, log: Log = silent) -> int:
    """Write the variants of a site's genotypes for the coordinator: nothing of a person. Returns how many there are."""
    found = open_genotypes(inputs, log, haploid=True).variants
    variants.write_variants(out, found)
    return len(found)


def init(
    folder: Name,
    key: Name,
    *,
    sites: Mapping[str, Name],
    variant_lists: Sequence[Name],
    phenotypes: Mapping[str, str],
    covariates: Sequence[str] = (),
    name: str = "study",
    model: str | None = None,
    missing: str = "mean",
    bits: int | None = None,
    dosage_grid: int = 1,
    site_indicators: bool = False,
    loadings: Name | None = None,
    qc: bool = False,
    smallest_cohort: int = 20,
    two_sites_learn_each_other: bool = False,
    commit: bool = False,
    openings: str = STRICT,
    few_missing: str = WITHHOLD,
    consent_openings: bool = False,
    common_samples: bool | None = None,
    fewest_people: int = FEWEST,
    statistic: str | None = None,
    xchr_model: int | None = None,
    split_par: str | None = None,
    predictions: bool = False,
    step1: bool = False,
    block: int | None = None,
    write_score: bool = False,
    interaction: str | None = None,
    dominant: bool = False,
    recessive: bool = False,
    hetonly: bool = False,
    anno_file: Name | None = None,
    set_list: Name | None = None,
    mask_def: Name | None = None,
    aaf_file: Name | None = None,
    aaf_bins: str | float | Sequence[str | float] | None = None,
    build_mask: str | None = None,
    vc_tests: Sequence[str] | None = None,
    vc_max_aaf: float | None = None,
    correction: str = NONE,
    p_thresh: float = P_THRESH,
    pcs: int = 0,
    pc_variants: Name | None = None,
    ld_prune_on: str | None = None,
    aim: str | None = None,
    controller: str | None = None,
    contact: str | None = None,
    expires: str | None = None,
    passphrase: bytes | None = None,
    log: Log = silent,
) -> tuple[StudyFile, int]:
    """Write study.toml, its signature and the variant list into the shared folder, as the coordinator.

    key: the coordinator's signing key, made when absent; passphrase: of that file. sites: name -> its public key;
    variant_lists: of the sites, what all have is analysed, with the alleles of the first; phenotypes: name -> one of
    studyfile.KINDS; pcs: components that become covariates, on public loadings or else such as the sites
    compute together, on the ids of the file pc_variants or on all that pass, without linkage disequilibrium (r² above 0.2 within
    500 variants) at the site ld_prune_on; common_samples: None for all but openings "all", and for step1;
    statistic: None for plink2, or regenie with predictions; step1: the sites make these together, by a whole-genome model of
    `block` variants per block, None for √(5M); dominant, recessive, hetonly: one of them, the genetic model;
    correction, p_thresh: as of `open_study`, of case-control phenotypes; for
    anno_file and what follows: as of `open_study`, masks of sets or, with vc_tests, set tests in place of variants; for
    the rest see StudyFile. Returns the study and how many variants of the first list are not in every list; log: told of
    those that the study cannot analyse.

    Raises UsageError, PolicyError and DesignError for a study that does not fit together, StorageError where one is
    there already: nothing is then written.
    """
    if block is not None and not step1:
        raise UsageError("`block` belongs to a whole-genome model of all sites: give `step1`")
    predictions = predictions or step1
    new = not Path(key).exists()
    coordinator = signing.generate() if new else signing.read_identity(key, passphrase=passphrase)
    lists = [variants.read_variants(path) for path in variant_lists]
    if split_par is not None:
        lists = [ploidy.split_par(found, split_par) for found in lists]
    common, dropped = variants.common_variants(lists)
    named = Inputs(
        dominant=dominant, recessive=recessive, hetonly=hetonly, model=model, interaction=interaction, missing=missing, qc=qc,
        anno_file=path("anno_file", anno_file), set_list=path("set_list", set_list), mask_def=path("mask_def", mask_def),
        aaf_file=path("aaf_file", aaf_file), aaf_bins=parse_bins(aaf_bins), build_mask=build_mask,
        vc_tests=names("vc_tests", vc_tests), vc_max_aaf=vc_max_aaf,
    )  # fmt: skip
    coding = named.coding
    with_x = (statistic == REGENIE or predictions) and xchr_model is None
    common = analysed(
        common, model, xchr_model, predictions, log, coding=coding, with_x=with_x, sets=named.masks is not None
    )
    sets, set_files = sets_of(named, common, log)
    if sets is not None and sets.tests:
        statistic, bits = statistic or REGENIE, bits or MAXIMUM_BITS
    kinds = ploidy.kinds_of(common)
    strata = tuple(ploidy.NAMES[k] for k in sorted(set(kinds.tolist())) if k != ploidy.AUTOSOMAL)
    raw = Path(loadings).read_bytes() if loadings else b""
    joint, projected = (0, pcs) if loadings else (pcs, 0)
    listed = component_ids(pc_variants, common, joint, log)
    notes = {"aim": aim, "controller": controller, "contact": contact, "expires": expires}
    study = StudyFile(
        digest="", name=name, study_id=study_toml.new_study_id(),
        sites=tuple(site_of_key(n, path) for n, path in sites.items()),
        coordinator=coordinator.verify_key,
        phenotypes=tuple(studyfile.TraitColumn(*pair) for pair in phenotypes.items()), covariates=tuple(covariates),
        model=model, missing=missing, bits=bits, site_indicators=site_indicators, loadings_pcs=projected, qc=qc,
        smallest_cohort=smallest_cohort, two_sites_learn_each_other=two_sites_learn_each_other, variants=len(common),
        variants_digest=common.digest(), loadings_digest=hashlib.sha256(raw).hexdigest() if loadings else "",
        dosage_grid=dosage_grid, commit=commit, openings=openings,
        common_samples=(openings != ALL or step1) if common_samples is None else common_samples, fewest_people=fewest_people,
        statistic=statistic or (REGENIE if predictions else PLINK2), strata=strata,
        xchr_model=xchr_model if "X" in strata else None, split_par=split_par, predictions=predictions,
        step1=block_size(common, block) if step1 else 0, write_score=write_score,
        interaction=interaction, correction=correction, p_thresh=p_thresh, genetic_model=coding, pcs=joint,
        ld_prune_on=ld_prune_on,
        pc_variants_digest=hashlib.sha256(listed).hexdigest() if listed else "",
        few_missing=few_missing, consent_openings=consent_openings, sets=sets,
        notes=tuple((n, text) for n in studyfile.NOTES if (text := notes[n]) is not None),
    )  # fmt: skip
    refuse_written(Path(folder))
    if new:
        signing.write_identity(key, coordinator, passphrase=passphrase)
    files = {studyfile.LOADINGS: raw, studyfile.PC_VARIANTS: listed, **set_files}
    return write_folder(Path(folder), study, coordinator, common, files), dropped


def open_folder(folder: Name) -> tuple[StudyFile, Variants]:
    """The signed study of a folder and its variant list. Raises ArtefactError or ProtocolError when they do not match."""
    return hub.open_folder(Path(folder))


def leave(folder: Name, state: Name, *, passphrase: bytes | None = None) -> tuple[str, int]:
    """Leave a study for good: the part of the site whose key is in `state` ends, and its keys for the study are deleted.

    The others are told by name. Returns the site's name, and in how many sums it had sent its part: none means that nothing
    of it was or will be opened, and that the others may go on without it. Raises PolicyError for a stranger's key or when the
    site has finished, StorageError while another process of the site runs.
    """
    study, _ = open_folder(folder)
    key = own_key(state, passphrase)
    return leaving.leave(Path(folder), Path(state), study, key)


def run_site(
    folder: Name,
    state: Name,
    inputs: Inputs,
    out: str,
    *,
    study_file: Path | None = None,
    connect: site.Connect | None = None,
    wait: float = 0.0,
    digits: int = 17,
    filters: Filters | None = None,
    passphrase: bytes | None = None,
    log: Log = silent,
) -> site.SiteResult:
    """Go as far in a study as the other sites allow; writes OUT.<PHENO>.<TEST> when all is opened. Run it again and again.

    inputs: this site's files and who of them takes part; the rest is the study's, and refused here. connect: another way
    to the other sites than the folder (`mpc.steps.site_links`); wait: seconds for a silent site; passphrase: of the key
    in `state`. Raises PeerError while another site is awaited, and what `site.run_site` raises.
    """
    check_inputs(inputs)
    key = own_key(state, passphrase)
    return site.run_site(
        Path(folder), Path(state), key, inputs, out, study_file=study_file, connect=connect, wait=wait, digits=digits,
        filters=filters, log=log,
    )  # fmt: skip


def check_inputs(inputs: Inputs) -> None:
    """Raise UsageError for what a site lacks, and for what the study file says and no site alone."""
    if not (inputs.genotypes.given and inputs.pheno):
        raise UsageError(f"a site needs its genotypes (`{'`, `'.join(FORMATS)}`) and `pheno`")
    standard = Inputs()
    for name in (f.name for f in fields(Inputs) if f.name not in _OF_A_SITE):
        if getattr(inputs, name) != getattr(standard, name):
            raise UsageError(f"`{name}` does not go with a site: the study file says it")


def progress(folder: Name) -> list[hub.SiteProgress]:
    """How far every site of a study is; checks every message. Raises ProtocolError naming a site with a false one."""
    return hub.progress(Path(folder), open_folder(folder)[0])
