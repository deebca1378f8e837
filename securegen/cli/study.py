"""securegen study"""

from __future__ import annotations

import hashlib
from pathlib import Path

import click

from securegen.cli.command import Group, common_options, json_option, report, writes
from securegen.errors import UsageError
from securegen.federated.studyfile import KINDS, MODELS


@click.group(cls=Group)
def command() -> None:
    """A federated study: set it up as its coordinator, accept it as a site, see how far it is."""


def _pairs(values: tuple[str, ...], what: str) -> list[tuple[str, str]]:
    out = []
    for text in values:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise UsageError(f"{what} {text!r}: write NAME=VALUE")
        out.append((name, value))
    return out


@command.command()
@click.option("--dir", "folder", required=True, metavar="FOLDER", help="The folder that all sites share.")
@click.option("--key", required=True, metavar="FILE", help="The coordinator's signing key; made when absent.")
@click.option("--name", default="study", show_default=True, help="What the study is called.")
@click.option("--site", "sites", multiple=True, required=True, metavar="NAME=FILE", help="A site and its public key.")
@click.option(
    "--variants", "lists", multiple=True, required=True, metavar="FILE",
    help="Variant list or bim of a site; several: what all have, with the alleles of the first.",
)  # fmt: skip
@click.option(
    "--phenotype", "traits", multiple=True, required=True, metavar="NAME=KIND", help=f"Kinds: {', '.join(KINDS)}."
)
@click.option("--covariate", "covariates", multiple=True, metavar="NAME", help="A covariate that every site has.")
@click.option("--model", type=click.Choice(MODELS), help="Test [linear, or logistic for cases and controls].")
@click.option(
    "--missing", type=click.Choice(["mean", "complete"]), default="mean", show_default=True, help="Missing calls."
)
@click.option("--bits", type=click.IntRange(14, 24), help="Bits of a design column [by the error bound].")
@click.option(
    "--dosage-grid", type=click.IntRange(1), default=1, show_default=True, metavar="D",
    help="Every site's dosages in steps of 1/D; 1 is for hard calls.",
)  # fmt: skip
@click.option("--site-indicators", is_flag=True, help="A covariate for each site but the first.")
@click.option("--loadings", metavar="FILE", help="Public loadings: every site projects its own people.")
@click.option("--components", type=click.IntRange(0), default=0, help="How many of them are covariates.")
@click.option("--qc", is_flag=True, help="Also frequencies, missingness and Hardy–Weinberg tests of the pooled cohort.")
@click.option(
    "--minimum-cohort", type=click.IntRange(1), default=20, show_default=True, help="Smallest site that takes part."
)
@click.option("--two-sites-learn-each-other", is_flag=True, help="Allow two sites, which hide nothing from each other.")
@common_options
@writes("{folder}/study.toml", "{folder}/study.sig", "{folder}/variants.tsv", makes=["folder", "key"])
def init(folder, key, name, sites, lists, traits, covariates, model, missing, bits, dosage_grid, site_indicators, loadings,
         components, qc, minimum_cohort, two_sites_learn_each_other) -> None:  # fmt: skip
    """Write study.toml, its signature and the variant list into the shared folder."""
    from securegen.federated import identity, studyfile, variants
    from securegen.io.output import atomic

    kinds = _pairs(traits, "--phenotype")
    for trait, kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"--phenotype {trait}={kind}: the kinds are {', '.join(KINDS)}")
    if not Path(key).exists():
        identity.write_identity(key, identity.generate())
    coordinator = identity.read_identity(key)
    members = tuple(studyfile.Site(n, identity.read_verify_key(f)) for n, f in _pairs(sites, "--site"))
    common, dropped = variants.common_variants([variants.read_variants(path) for path in lists])
    if not len(common):
        raise UsageError("no variant is in every list")
    raw = Path(loadings).read_bytes() if loadings else b""
    columns = len(kinds) * (len(covariates) + components + len(members) * site_indicators + 4) + 3 * qc
    study = studyfile.write_study(
        Path(folder),
        studyfile.Study(
            "", name, studyfile.new_study_id(), members, coordinator.verify_key,
            tuple(studyfile.TraitColumn(*pair) for pair in kinds), tuple(covariates), model, missing, bits, site_indicators,
            components, qc, minimum_cohort, two_sites_learn_each_other, len(common), common.digest(),
            hashlib.sha256(raw).hexdigest() if loadings else "",
            studyfile.plan_ciphertexts(len(common), columns, complete=missing == "complete"), dosage_grid,
        ),
        coordinator,
    )  # fmt: skip
    variants.write_variants(Path(folder) / studyfile.VARIANTS, common)
    if loadings:
        with atomic(Path(folder) / studyfile.LOADINGS) as stream:
            stream.write(raw)
    opened = studyfile.opened_by(study)
    lines = [f"study {study.digest[:16]}: {len(members)} sites, {len(common)} variants, in {folder}"]
    if dropped:
        lines.insert(0, f"{dropped} variants of {lists[0]} are not in every list, or with other alleles: left out")
    lines += [f"  opened: {line}" for line in opened]
    if two_sites_learn_each_other:
        lines.append("  two sites: each can compute the other's sums exactly")
    report(
        lines,
        study=study.digest,
        sites=[m.name for m in members],
        variants=len(common),
        left_out=dropped,
        opened=opened,
    )


@command.command()
@click.option("--dir", "folder", required=True, metavar="FOLDER", help="The folder that all sites share.")
@click.option("--state", required=True, metavar="FOLDER", help="This site's private folder.")
@click.option("--coordinator", metavar="FINGERPRINT", help="Refuse a study that another coordinator signed.")
@common_options
@writes("the acceptance, signed, in {folder}")
def join(folder: str, state: str, coordinator: str | None) -> None:
    """Accept the study of a folder for this site, after reading it: what is opened is in study.toml."""
    from securegen.cli.site import IDENTITY
    from securegen.federated import hub, identity, studyfile

    study, _ = hub.open_folder(Path(folder))
    signer = studyfile.fingerprint(study.coordinator)
    if coordinator and coordinator != signer:
        raise UsageError(f"the study is signed by {signer}, not by {coordinator}")
    site = hub.join(Path(folder), identity.read_identity(Path(state) / IDENTITY))
    line = f"site {site} accepts study {study.digest[:16]} of coordinator {signer}"
    report(line, site=site, study=study.digest, coordinator=signer)


@command.command()
@click.option("--dir", "folder", required=True, metavar="FOLDER", help="The folder that all sites share.")
@json_option
def status(folder: str) -> None:
    """How far every site is; checks every message on the way."""
    from securegen.federated import hub

    study, variants = hub.open_folder(Path(folder))
    lines = [f"study {study.name} {study.digest[:16]}: {len(study.sites)} sites, {len(variants)} variants"]
    found = hub.progress(Path(folder), study)
    for p in found:
        state = (
            f"stopped with {p.stopped}" if p.stopped else "finished" if p.finished else f"at {p.last or 'nothing yet'}"
        )
        joined = "" if p.accepted else ", has not accepted"
        lines.append(
            f"  {p.site:<20} {state}{joined}; {p.messages} messages, {p.bytes / 1e6:.1f} MB, {p.age:.0f} s ago"
        )
    report(lines, study=study.digest, variants=len(variants), sites=[vars(p) for p in found])
