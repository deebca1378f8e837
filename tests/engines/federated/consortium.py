"""Four sites with a folder each for their keys and state, who run studies in this process, a thread a site."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from securegen.engines.federated import hub, steps
from securegen.engines.federated.studyfile import StudyFile
from securegen.errors import SecuregenError
from securegen.governance.signing import read_identity
from securegen.study.inputs import Inputs

from .conftest import Cohort

SITES = ("anna", "bert", "cora", "dora")
PLACE = {site: i for i, site in enumerate(SITES)}


@dataclass(frozen=True)
class Consortium:
    """Below `work`: a private folder and a list of people for each site, and studies as folders."""

    work: Path
    cohort: Cohort

    def state(self, site: str) -> Path:
        return self.work / site / "state"

    def key(self, site: str):
        return read_identity(self.state(site) / steps.SITE_KEY)

    def memory(self, site: str, study: StudyFile) -> Path:
        return self.state(site) / f"study-{study.digest[:16]}"

    def init(self, folder: str, sites: Sequence[str], may_leave: Sequence[str] = (), **more: Any) -> StudyFile:
        """A study that all of its sites have joined."""
        for site in sites:
            if not self.state(site).exists():
                steps.keygen(self.state(site), self.work / f"{site}.public")
                people = self.cohort.people[PLACE[site] :: len(SITES)]
                (self.work / site / "keep.txt").write_text("".join(f"f\t{p}\n" for p in people))
        terms: dict[str, Any] = {"openings": "all", "smallest_cohort": 1, "covariates": ["AGE"]}
        terms["phenotypes"] = {"QT": "quantitative"}
        study, _ = steps.init(
            self.work / folder, self.work / "coordinator.secret", sites={s: self.work / f"{s}.public" for s in sites},
            variant_lists=[f"{self.cohort.bfile}.bim"], **(terms | more),
        )  # fmt: skip
        for site in sites:
            self.join(folder, site, site in may_leave)
        return study

    def join(self, folder: str, site: str, may_leave: bool = False) -> str:
        return steps.join(
            self.work / folder, self.state(site), fingerprints={}, trust_study_file=True, may_leave=may_leave
        )

    def go_on(self, folder: str, out: str, *without: str, **more: Any) -> StudyFile:
        """The study of `folder` without some sites, in the folder `out`."""
        return steps.continue_study(
            self.work / folder, self.work / out, self.work / "coordinator.secret", without=without, **more
        )

    def run(self, folder: str, site: str, wait: float = 0.0, **more: Any):
        inputs = Inputs(
            self.cohort.bfile, pheno=self.cohort.pheno, covar=self.cohort.covar, keep=str(self.work / site / "keep.txt")
        )
        out = self.work / site / folder
        return steps.run_site(self.work / folder, self.state(site), inputs, str(out), wait=wait, **more)

    def run_all(self, folder: str, sites: Sequence[str]) -> dict[str, Any]:
        """What every site ends with: its result, or its error."""

        def part(site: str):
            try:
                return self.run(folder, site, wait=30)
            except SecuregenError as error:
                return error

        with ThreadPoolExecutor(len(sites)) as pool:
            return dict(zip(sites, pool.map(part, sites), strict=True))

    def table(self, site: str, folder: str) -> bytes:
        return (self.work / site / f"{folder}.QT.glm.linear").read_bytes()

    def counts(self, site: str, folder: str) -> np.ndarray:
        """Σg of each variant that nobody lacks, as whoever has the table computes it."""
        lines = [line.split("\t") for line in self.table(site, folder).decode().splitlines()]
        freq, people = lines[0].index("A1_FREQ"), lines[0].index("OBS_CT")
        return np.array([round(2 * float(v[freq]) * int(v[people])) for v in lines[2::2]])

    def own_counts(self, site: str) -> np.ndarray:
        """Σg of each variant that nobody lacks, over a site's people with the phenotype."""
        rows = np.arange(len(self.cohort.people))[PLACE[site] :: len(SITES)]
        return self.cohort.dosage[1::2, rows[rows % 24 != 0]].sum(axis=1)

    def accept(self, folder: str, site: str) -> None:
        """Sign an acceptance without a look at the rules: what `steps.join` refuses."""
        hub.join(self.work / folder, self.key(site))
