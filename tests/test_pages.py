"""The pages of the site are followed: every block of commands runs, in order, beside the example cohort."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from bed_reader import open_bed, to_bed
from example_walk import thin
from forked_roles import Nursery
from object_stores import KEYS
from page_walk import Walk, walked
from test_workflows import SBATCH
from visa_tools import Signer

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*/*.md")])
NEEDS = {"twin": "msprime", "label-noise": "opendp", "people-noise": "opendp", "stores": "s3fs", "receipts": "rocrate"}


def visas(here: Path, _: pytest.FixtureRequest) -> dict[str, str]:
    """The keys of an issuer, and what it says of a person."""
    broker = Signer(iss="https://broker.example/")
    (here / "broker.jwks").write_text(json.dumps({"keys": [broker.jwk]}))
    (here / "anna.jwt").write_text(broker.visa())
    return {}


def chromosomes(here: Path, _: pytest.FixtureRequest) -> dict[str, str]:
    """One fileset for each chromosome of the cohort."""
    with open_bed(here / "cohort.bed", count_A1=True) as bed:
        for name in sorted(set(bed.chromosome)):
            mine = bed.chromosome == name
            properties = {
                key: getattr(bed, key)[mine] for key in ("sid", "chromosome", "bp_position", "allele_1", "allele_2")
            }
            people = {"fid": bed.fid, "iid": bed.iid, "sex": bed.sex}
            to_bed(here / f"cohort_chr{name}.bed", bed.read(dtype="int8")[:, mine], properties=properties | people)
    return {}


def scheduler(here: Path, _: pytest.FixtureRequest) -> dict[str, str]:
    """Slurm that runs what it is given at once, and the workflows of the repository."""
    (here / "workflows").symlink_to(ROOT / "workflows")
    program = here.parent / "home" / "bin" / "sbatch"
    program.parent.mkdir()
    program.write_text(SBATCH)
    program.chmod(0o755)
    return {}


def bucket(here: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    """A stand-in of S3 with a bucket of that name, and a profile that may use it."""
    boto3, endpoint = pytest.importorskip("boto3"), request.getfixturevalue("stand_in")
    secrets = {name.lower(): value for name, value in KEYS.items() if "REGION" not in name}
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **secrets).create_bucket(Bucket="bucket")
    profile = here.parent / "home" / ".aws" / "credentials"
    profile.parent.mkdir()
    profile.write_text("[hospital]\n" + "".join(f"{name} = {value}\n" for name, value in secrets.items()))
    return {"AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": "us-east-1"}


# what somebody else has sent or made before a page begins
GIVEN = {"command-line": chromosomes, "governance": visas, "pipelines": scheduler, "stores": bucket}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def walk(tmp_path_factory) -> Iterator[Walk]:
    base = tmp_path_factory.mktemp("pages")
    example = base / "example"
    example.mkdir()
    thin(example)
    forks = Nursery()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBA_NUM_THREADS", "1")
        patch.setenv("_NURSERY_WARM", str(Path(__file__).with_name("page_warm.py")))
        forks.open()
    yield Walk(forks, example, base)
    forks.close()


@pytest.mark.parametrize("page", [*filter(walked, PAGES)], ids=name_of)
def test_a_page_does_what_it_says(page, walk, request):
    if page.stem in NEEDS:
        pytest.importorskip(NEEDS[page.stem])
    given = GIVEN.get(page.stem)
    here = walk.run(page, given and (lambda here: given(here, request)))
    servers = [folder for folder in here.rglob("server") if folder.is_dir()]
    assert not [file for folder in servers for file in folder.rglob("*") if file.suffix in (".secret", ".box")]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("```sh\nsecuregen example one\nls one\n```\n\n```text\ncohort.bed\n```\n", ""),
        ("```sh\nsecuregen gwas --bfile nobody --pheno cohort.pheno.tsv\ntrue\n```\n", "gwas --bfile nobody"),
        ("```sh\nsecuregen qc --bfile nobody --out q &\nwait\n```\n", "in the background"),
        ("```sh\nsecuregen qc --bfile nobody --out q || echo refused\n```\n", ""),
        ("```sh\necho $MISSING\n```\n", "MISSING"),
        ("```sh\necho one\n```\n\n```text\ntwo\n```\n\n```sh\necho two\n```\n", "not printed: ['two']"),
        ("```toml\n# a.toml\nx = 1\n```\n\n```sh\ngrep -q 'x = 1' a.toml\n```\n", ""),
        ("```python\n# sums.py\nprint(6 * 7)\n```\n\n```sh\npython sums.py\n```\n\n```text\n42\n```\n", ""),
        ("```python\nraise SystemExit(3)\n```\n", "SystemExit"),
        ("<!-- not run: an hour -->\n```sh\nfalse\n```\n", ""),
    ],
    ids=["right", "fails", "background", "guarded", "unset", "not-printed", "file", "program", "python", "not-run"],
)
def test_a_page_that_is_wrong_is_found(text, wrong, walk, tmp_path):
    page = tmp_path / f"{tmp_path.name}.md"
    page.write_text(text)
    if not wrong:
        walk.run(page)
        return
    with pytest.raises(AssertionError, match=re.escape(wrong)):
        walk.run(page)
