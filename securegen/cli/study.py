"""securegen study"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import click

from securegen.cli import options as opt
from securegen.cli.command import Group, common_options, json_option, report, writes
from securegen.engines.federated.studyfile import KINDS, MODELS
from securegen.errors import PolicyError, UsageError
from securegen.governance.openings import ALL, STRICT, WITHHOLD


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
@click.option("--commit", is_flag=True, help="Sites commit to each sum before any shows it: one exchange more a sum.")
@opt.opening_options
@click.option(
    "--common-samples/--own-samples",
    default=None,
    help="Every phenotype in the people who have all of them, or in all who have it [common, own with --openings all].",
)
@click.option(
    "--fewest-people", type=click.IntRange(10), default=10, show_default=True, help="Fewest people who may stand out."
)
@click.option("--purpose", help="Text for study.toml: what the study is for.")
@click.option("--controller", help="Text for study.toml: who answers for the data.")
@click.option("--contact", help="Text for study.toml: whom to ask.")
@click.option("--expires", metavar="YYYY-MM-DD", help="The last day on which a site takes part.")
@opt.passphrase_options
@common_options
@writes("{folder}/study.toml", "{folder}/study.sig", "{folder}/variants.tsv", makes=["folder", "key"])
def init(folder, key, name, sites, lists, traits, covariates, model, missing, bits, dosage_grid, site_indicators, loadings,
         components, qc, minimum_cohort, two_sites_learn_each_other, commit, openings, few_missing, consent_openings,
         common_samples, fewest_people, passphrase_file, **notes) -> None:  # fmt: skip
    """Write study.toml, its signature and the variant list into the shared folder."""
    from securegen.engines.federated import identity, studyfile, variants
    from securegen.io.output import atomic

    kinds = _pairs(traits, "--phenotype")
    for trait, kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"--phenotype {trait}={kind}: the kinds are {', '.join(KINDS)}")
    if not Path(key).exists():
        identity.write_identity(key, identity.generate(), passphrase=opt.given_passphrase(passphrase_file))
    coordinator = identity.read_identity(key, passphrase=opt.passphrase_for(key, passphrase_file))
    members = tuple(studyfile.Site(n, identity.read_verify_key(f)) for n, f in _pairs(sites, "--site"))
    common, dropped = variants.common_variants([variants.read_variants(path) for path in lists])
    if not len(common):
        raise UsageError("no variant is in every list")
    raw = Path(loadings).read_bytes() if loadings else b""
    study = studyfile.write_study(
        Path(folder),
        studyfile.Study(
            "", name, studyfile.new_study_id(), members, coordinator.verify_key,
            tuple(studyfile.TraitColumn(*pair) for pair in kinds), tuple(covariates), model, missing, bits, site_indicators,
            components, qc, minimum_cohort, two_sites_learn_each_other, len(common), common.digest(),
            hashlib.sha256(raw).hexdigest() if loadings else "", dosage_grid, commit,
            openings or STRICT, (openings != ALL) if common_samples is None else common_samples, fewest_people,
            few_missing or WITHHOLD, consent_openings,
            tuple((name, notes[name]) for name in studyfile.NOTES if notes[name] is not None),
        ),
        coordinator,
    )  # fmt: skip
    variants.write_variants(Path(folder) / studyfile.VARIANTS, common)
    if loadings:
        with atomic(Path(folder) / studyfile.LOADINGS) as stream:
            stream.write(raw)
    lines = [f"study {study.digest[:16]}: {len(members)} sites, {len(common)} variants, in {folder}", *_terms(study)]
    if dropped:
        lines.insert(0, f"{dropped} variants of {lists[0]} are not in every list, or with other alleles: left out")
    report(lines, study=study.digest, left_out=dropped, **_record(study))


def _fingerprints(study) -> dict[str, str]:
    from securegen.engines.federated.identity import fingerprint

    return {s.name: fingerprint(s.verify_key) for s in study.sites}


def _terms(study) -> list[str]:
    """What a site agrees to, and whose keys."""
    from securegen.engines.federated.identity import fingerprint
    from securegen.engines.federated.studyfile import opened_by

    names = [f"{t.name} ({study.test_of(t)})" for t in study.phenotypes]
    lines = [f"  {name}: {value}" for name, value in study.notes]
    lines += [
        f"  phenotypes: {', '.join(names)}", f"  covariates: {', '.join(study.covariates) or 'none'}"
        + (f", {study.components} components" if study.components else "")
        + (", one for each site but the first" if study.site_indicators else ""),
        f"  {study.variants} variants, missing calls: {study.missing}, no site below {study.minimum_cohort} people",
    ]  # fmt: skip
    common = "the people who have every phenotype" if study.common_samples else "each phenotype in its own people"
    lines.append(f"  openings: {study.openings}, no fewer than {study.fewest_people} people stand out; {common}"
                 + (", with consent to more" if study.consent_openings else ""))  # fmt: skip
    lines += [f"  opened to every site: {line}" for line in opened_by(study)]
    if len(study.sites) == 2:
        lines.append("  two sites: each can compute the other's sums exactly")
    lines += [f"  coordinator {fingerprint(study.coordinator)}"]
    return lines + [f"  site {name} {mark}" for name, mark in _fingerprints(study).items()]


def _record(study) -> dict:
    from securegen.engines.federated.identity import fingerprint
    from securegen.engines.federated.studyfile import opened_by

    return {
        "sites": [s.name for s in study.sites], "variants": study.variants, "opened": opened_by(study),
        "coordinator": fingerprint(study.coordinator), "fingerprints": _fingerprints(study),
    }  # fmt: skip


@command.command()
@click.option("--dir", "folder", required=True, metavar="FOLDER", help="The folder that all sites share.")
@click.option("--state", required=True, metavar="FOLDER", help="This site's private folder.")
@click.option(
    "--coordinator", metavar="FINGERPRINT", help="The coordinator's fingerprint, as heard from the coordinator."
)
@click.option(
    "--site",
    "sites",
    multiple=True,
    metavar="NAME=FINGERPRINT",
    help="Another site's, as heard from that site; for each.",
)
@click.option("--trust-study-file", is_flag=True, help="Accept the keys that the study file names, whoever wrote it.")
@opt.passphrase_options
@common_options
@writes("the acceptance, signed, in {folder}")
def join(
    folder: str, state: str, coordinator: str | None, sites: tuple[str, ...], trust_study_file: bool,
    passphrase_file: str | None,
) -> None:  # fmt: skip
    """Accept the study of a folder for this site: prints what will be opened, and whose keys take part.

    Whoever writes a study file can put keys of its own under the names of other sites: all sites but one see that one's
    sums. So the fingerprint of the coordinator and of every other site is compared, by telephone, before joining.
    """
    from securegen.cli.site import signing_key
    from securegen.engines.federated import hub, identity

    study, _ = hub.open_folder(Path(folder))
    key = signing_key(Path(state), passphrase_file)
    own = study.site_of(key.verify_key).name
    lines = _terms(study)
    click.echo("\n".join([f"study {study.name} {study.digest[:16]}, for site {own}", *lines]), err=True)
    needed = {"the coordinator": identity.fingerprint(study.coordinator)}
    needed |= {name: mark for name, mark in _fingerprints(study).items() if name != own}
    told = {name: identity.read_fingerprint(mark) for name, mark in _pairs(sites, "--site")}
    if coordinator:
        told["the coordinator"] = identity.read_fingerprint(coordinator)
    for name, mark in told.items():
        if name == own:
            continue
        if name not in needed:
            raise UsageError(f"--site {name}: the study has no such site; it has {', '.join(_fingerprints(study))}")
        if needed[name] != mark:
            raise PolicyError(
                f"the study file has the key {needed[name]} for {name}, not {mark}: do not join, ask there"
            )
    absent = [name for name in needed if name not in told]
    if absent and not trust_study_file:
        if not sys.stdin.isatty():
            raise UsageError(
                f"the fingerprints of {', '.join(absent)} were not given: ask there by telephone, then --coordinator "
                "FINGERPRINT and --site NAME=FINGERPRINT for every other site; --trust-study-file goes without"
            )
        click.confirm(
            f"Were the fingerprints of {', '.join(absent)} compared with what each of them says?", abort=True, err=True
        )
    site = hub.join(Path(folder), key)
    line = f"site {site} accepts study {study.digest[:16]} of coordinator {needed['the coordinator']}"
    report(line, site=site, study=study.digest, **{k: v for k, v in _record(study).items() if k != "sites"})


@command.command()
@click.option("--dir", "folder", required=True, metavar="FOLDER", help="The folder that all sites share.")
@json_option
def status(folder: str) -> None:
    """How far every site is; checks every message on the way."""
    from securegen.engines.federated import hub
    from securegen.engines.federated.identity import fingerprint

    study, variants = hub.open_folder(Path(folder))
    marks = _fingerprints(study)
    lines = [
        f"study {study.name} {study.digest[:16]}: {len(study.sites)} sites, {len(variants)} variants, coordinator "
        f"{fingerprint(study.coordinator)}"
    ]  # fmt: skip
    found = hub.progress(Path(folder), study)
    for p in found:
        state = (
            f"stopped with {p.stopped}" if p.stopped else "finished" if p.finished else f"at {p.last or 'nothing yet'}"
        )
        joined = "" if p.accepted else ", has not accepted"
        when = "never" if p.age is None else f"{p.age:.0f} s ago"
        lines.append(
            f"  {p.site:<20} {marks[p.site]} {state}{joined}; {p.messages} messages, {p.bytes / 1e6:.1f} MB, {when}"
        )
    rows = [{**vars(p), "fingerprint": marks[p.site]} for p in found]
    report(lines, study=study.digest, variants=len(variants), coordinator=fingerprint(study.coordinator), sites=rows)
