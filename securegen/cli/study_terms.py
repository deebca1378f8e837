"""What the commands of a study print and report of its file: the terms that a site agrees to, and whose keys take part."""

from __future__ import annotations

from typing import Any

from securegen.engines.federated.studyfile import StudyFile
from securegen.engines.federated.terms import opened_by


def terms(study: StudyFile) -> list[str]:
    """What a site agrees to, and whose keys."""
    from securegen.engines.federated.steps import COORDINATOR, fingerprints

    names = [f"{t.name} ({study.test_of(t).name})" for t in study.phenotypes]
    lines = [f"  {name}: {value}" for name, value in study.notes]
    lines += [
        f"  phenotypes: {', '.join(names)}", f"  covariates: {', '.join(study.covariates) or 'none'}"
        + (f", {study.loadings_pcs} components on public loadings" if study.loadings_pcs else "")
        + (f", {study.pcs} components of all sites" if study.pcs else "")
        + (", one for each site but the first" if study.site_indicators else ""),
        f"  {study.variants} variants{_apart(study)}",
        f"  missing calls: {study.missing}, no site below {study.smallest_cohort} people",
    ]  # fmt: skip
    common = "the people who have every phenotype" if study.common_samples else "each phenotype in its own people"
    lines.append(f"  openings: {study.openings}, no fewer than {study.fewest_people} people stand out; {common}"
                 + (", with consent to more" if study.consent_openings else ""))  # fmt: skip
    if study.continues:
        lines.append(
            f"  continues study {study.continues[:16]} without {', '.join(s.name for s in study.without)}: with its first run a "
            "site's part in that study ends, and what it kept of it is deleted"
        )
    lines += [f"  opened to every site: {line}" for line in opened_by(study)]
    if len(study.sites) == 2:
        lines.append("  two sites: each can compute the other's sums exactly")
    marks = fingerprints(study)
    lines += [f"  coordinator {marks.pop(COORDINATOR)}"]
    return lines + [f"  site {name} {mark}" for name, mark in marks.items()]


def _apart(study: StudyFile) -> str:
    """What study.toml says of chromosomes that have a design of their own."""
    said = [f"designs of their own for {', '.join(study.strata)}"] if study.strata else []
    said += [f"males on X count {(0, 1, 2)[study.xchr_model or 2]}"] if "X" in study.strata else []
    said += [f"PAR1 and PAR2 by {study.split_par}"] if study.split_par else []
    said += ["a design for each chromosome, by predictions that every site has (--pred)"] if study.predictions else []
    return f" ({'; '.join(said)})" if said else ""


def record_of(study: StudyFile) -> dict[str, Any]:
    from securegen.engines.federated.steps import COORDINATOR, fingerprints

    marks = fingerprints(study)
    return {
        "sites": [s.name for s in study.sites], "variants": study.variants, "opened": opened_by(study),
        "coordinator": marks.pop(COORDINATOR), "fingerprints": marks,
    }  # fmt: skip
