"""run-local with --engine federated: every site of a federated study as a process of its own."""

from __future__ import annotations

from collections.abc import Sequence

from securegen.engines.federated import rehearsal
from securegen.engines.federated.variant_sums import Withheld
from securegen.engines.protocol import covariates_of
from securegen.errors import PolicyError, SecuregenError
from securegen.io.output import copy_file
from securegen.local import folders
from securegen.record.run_log import RunLog, print_end
from securegen.results.forms import TableForm, convert
from securegen.results.summary import print_summaries, promises, summary_of
from securegen.results.write import Summary
from securegen.stats.qc import Filters
from securegen.study import people
from securegen.study.build import Inputs, open_genotypes

SITES = 3


def run_federated(
    members: Sequence[Inputs], sites: int | None, out: str, form: TableForm, log: RunLog, filters: Filters, *,
    keep_files: bool, two_sites_learn_each_other: bool, openings: str, few_missing: str, consent_openings: bool,
) -> list[Summary]:  # fmt: skip
    """Deal one cohort to sites, or take a cohort a site, and let them run the study through a shared folder."""
    inputs = members[0]
    with folders.working_folder(out, folders.SITES, keep=keep_files, log=log) as work:
        with log.stage("plan"):
            if len(members) > 1:
                local = [rehearsal.LocalSite(f"site{i + 1}", m.genotypes, None) for i, m in enumerate(members)]
            else:
                local = rehearsal.deal(open_genotypes(inputs), inputs.genotypes, sites or SITES)
            study = rehearsal.set_up(
                work, inputs, local, log, two_sites_learn_each_other=two_sites_learn_each_other, openings=openings,
                few_missing=few_missing, consent_openings=consent_openings,
            )  # fmt: skip
            log(f"{len(local)} sites, {study.variants} variants, every two sites with a key of their own")
        with log.stage("gwas"):
            try:
                rehearsal.run_sites(
                    [[*rehearsal.site_command(work, inputs, m, filters), "--digits", str(form.digits)] for m in local]
                )
            except SecuregenError as error:
                if error.exit_code != PolicyError.exit_code:
                    raise
                for line in rehearsal.refusals(work, local):
                    log(line)
                log("larger sites or fewer columns pass; --openings all is for rehearsals on one owner's data")
                raise
        records = rehearsal.results(work, local)
        log(people.covariate_line(records[0]["covariate_names"]))
        log(f"{records[0]['samples']} of {sum(r['samples_stored'] for r in records)} people are analysed")
        tables = []
        for s in records[0]["summaries"]:
            path = out + s["path"].removeprefix(str(work / local[0].name / "result"))
            copy_file(s["path"], path)
            tables.append(summary_of(s, path))
        convert(tables, out, form, log, covariates=covariates_of(inputs))
        print_summaries(tables, log, filters)
        for line in Withheld(**records[0]["opened"]["withheld"]).lines():
            log(line)
        said, there = records[0]["receipt"], {s["path"] for s in records[0]["summaries"]}
        receipt = said | {"released": [*(r for r in said["released"] if r not in there), *(t.path for t in tables)]}
        own = ("parameters", "samples", "variants", "covariates", "covariate_names", "phenotypes", "missing",
               "planned_noise_margin_bits")  # fmt: skip
        log.write(
            engine="federated", inputs=_digests(members), samples_stored=sum(r["samples_stored"] for r in records),
            bytes={"sent": {m.name: r["bytes"]["sent"][m.name] for m, r in zip(local, records, strict=True)}},
            promise=promises(tables), receipt=receipt, opened=records[0]["opened"], sites=len(local),
            peak_rss_bytes=max(r["peak_rss_bytes"] for r in records), **{name: records[0][name] for name in own},
        )  # fmt: skip
        print_end(log, [t.path for t in tables])
        return tables


def _digests(members: Sequence[Inputs]) -> dict[str, str]:
    """SHA-256 of every input file; with a cohort a site, under the site's name."""
    if len(members) == 1:
        return members[0].digests()
    out: dict[str, str] = {}
    for i, own in enumerate(members):
        mine = own.genotypes.files()
        out |= {f"site{i + 1}.{name}" if name in mine else name: digest for name, digest in own.digests().items()}
    return out
