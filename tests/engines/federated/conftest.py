"""Three sites in one process: small cohorts on disk, and a driver that lets the sites take turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securegen.engines.federated import study_toml, studyfile
from securegen.engines.federated.conversation import Conversation
from securegen.engines.federated.message_folder import MessageFolder
from securegen.engines.federated.pair_keys import agree_on_keys
from securegen.engines.federated.rounds import SecureSum
from securegen.engines.federated.state import open_state
from securegen.engines.federated.studyfile import Site, StudyFile, TraitColumn
from securegen.engines.federated.variants import write_variants
from securegen.errors import PeerError
from securegen.governance import signing
from securegen.governance.signing import SigningIdentity
from securegen.model import Variants

CODES = np.array([3, 2, 0, 1], np.uint8)  # of 0, 1, 2 copies of A1 and missing


def write_cohort(prefix: Path, dosage: np.ndarray, variants: Variants, people: list[str]) -> str:
    """(V, N) dosages of the effect allele, 3 = missing -> PREFIX.bed, .bim, .fam."""
    codes = np.pad(CODES[dosage], ((0, 0), (0, -dosage.shape[1] % 4)))
    packed = codes[:, 0::4] | codes[:, 1::4] << 2 | codes[:, 2::4] << 4 | codes[:, 3::4] << 6
    Path(f"{prefix}.bed").write_bytes(b"\x6c\x1b\x01" + packed.astype(np.uint8).tobytes())
    fields = zip(
        variants.chromosome, variants.id, variants.position, variants.effect_allele, variants.other_allele, strict=True
    )
    Path(f"{prefix}.bim").write_text("".join(f"{c}\t{i}\t0\t{p}\t{e}\t{o}\n" for c, i, p, e, o in fields))
    Path(f"{prefix}.fam").write_text("".join(f"f\t{p}\t0\t0\t0\t-9\n" for p in people))
    return str(prefix)


def variant_list(count: int, alleles: tuple[str, str] = ("A", "G")) -> Variants:
    text = lambda values: np.array(list(values), dtype=object)  # noqa: E731
    return Variants(
        text("1" for _ in range(count)), np.arange(1, count + 1), text(f"rs{j}" for j in range(count)),
        text(alleles[0] for _ in range(count)), text(alleles[1] for _ in range(count)),
    )  # fmt: skip


@dataclass(frozen=True)
class Cohort:
    """A pooled cohort on disk."""

    bfile: str
    pheno: str
    covar: str
    dosage: np.ndarray
    variants: Variants
    people: list[str]


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """96 people, 80 variants with 2 % missing calls in half of them, one trait, one disease, two covariates."""
    folder = tmp_path_factory.mktemp("cohort")
    rng = np.random.default_rng(11)
    n, m = 96, 80
    dosage = rng.binomial(2, rng.uniform(0.1, 0.5, (m, 1)), (m, n))
    dosage[::2][rng.random((m // 2, n)) < 0.02] = 3
    dosage[6] = 0
    dosage[8] = 3
    people = [f"p{i}" for i in range(n)]
    variants = variant_list(m)
    bfile = write_cohort(folder / "pooled", dosage, variants, people)
    age, sex = rng.normal(50, 8, n), rng.integers(0, 2, n)
    trait = 0.4 * age + np.where(dosage[3] == 3, 0, dosage[3]) + rng.normal(0, 3, n)
    disease = 1 + (rng.random(n) < 0.4)
    rows = [
        (p, f"{t:.4f}" if i % 24 else "NA", d) for i, (p, t, d) in enumerate(zip(people, trait, disease, strict=True))
    ]
    pheno, covar = folder / "pheno.tsv", folder / "covar.tsv"
    pheno.write_text("#IID\tQT\tCC\n" + "".join(f"{p}\t{t}\t{d}\n" for p, t, d in rows))
    covar.write_text(
        "#IID\tAGE\tSEX\n" + "".join(f"{p}\t{a:.3f}\t{s}\n" for p, a, s in zip(people, age, sex, strict=True))
    )
    return Cohort(bfile, str(pheno), str(covar), dosage, variants, people)


def make_study(identities: dict[str, SigningIdentity], coordinator: SigningIdentity, **changes: Any) -> StudyFile:
    """A study of these sites with one variant, before it is signed."""
    values: dict[str, Any] = {
        "digest": "", "name": "test", "study_id": study_toml.new_study_id(),
        "sites": tuple(Site(n, k.verify_key) for n, k in identities.items()), "coordinator": coordinator.verify_key,
        "phenotypes": (TraitColumn("QT", "quantitative"),), "covariates": (), "model": None, "missing": "mean",
        "bits": None, "site_indicators": False, "loadings_pcs": 0, "qc": False, "smallest_cohort": 1,
        "two_sites_learn_each_other": False, "variants": 1, "variants_digest": variant_list(1).digest(),
        "loadings_digest": "", "openings": "all", "common_samples": False,
    }  # fmt: skip
    return StudyFile(**(values | changes))


def secure_sum(session: Conversation) -> SecureSum:
    """Keys of every pair, and sums under their masks."""
    return SecureSum(session, agree_on_keys(session, "ab" * 32))


@dataclass(frozen=True)
class Trio:
    """Three sites that share a folder, and what each of them holds."""

    folder: Path
    study: StudyFile
    identities: dict[str, SigningIdentity]
    private: Path

    def message_folder(self, site: str = "anna", wait: float = 0.0) -> MessageFolder:
        return MessageFolder(self.folder, self.study, site, wait)

    def act_once(
        self, site: str, act: Callable[[Conversation], Any], make: Callable[..., Conversation] = Conversation
    ) -> Any:
        """Let one site go as far as it can. Raises PeerError when it waits."""
        with open_state(self.private / site, self.study) as memory:
            return act(make(self.message_folder(site), self.study, site, self.identities[site], memory))

    def drive(
        self,
        act: Callable[[Conversation], Any],
        turns: int = 30,
        makers: dict[str, Callable[..., Conversation]] | None = None,
    ) -> dict[str, Any]:
        """Let the sites take turns until every one has finished `act`; each turn begins it anew."""
        done: dict[str, Any] = {}
        for _ in range(turns):
            for site in self.identities:
                if site not in done:
                    try:
                        done[site] = self.act_once(site, act, (makers or {}).get(site, Conversation))
                    except PeerError:
                        continue
            if len(done) == len(self.identities):
                return done
        raise AssertionError(f"only {list(done)} finished in {turns} turns")


def make_trio(folder: Path, **changes: Any) -> Trio:
    coordinator = signing.generate()
    identities = {name: signing.generate() for name in ("anna", "bert", "cora")}
    study = study_toml.write_study(folder / "shared", make_study(identities, coordinator, **changes), coordinator)
    write_variants(folder / "shared" / studyfile.VARIANTS, variant_list(1))
    return Trio(folder / "shared", study, identities, folder / "private")


@pytest.fixture
def trio(tmp_path: Path) -> Trio:
    return make_trio(tmp_path)
