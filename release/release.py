"""`make release`: everything that goes out with a version, in dist/, each made and not written by hand.

1. requirements.lock: every package of a deployment with its exact version and hashes (pip-compile), beside pyproject.toml.
2. wheel and sdist (build).
3. dist/env: a fresh environment of the lock, by hashes alone, and of the wheel: what is deployed, and the proof that it installs.
4. dist/securegen-VERSION.cdx.json: its bill of materials (CycloneDX).
5. pip-audit of the lock: known vulnerabilities are an error; where the service cannot be reached, the last line says that
   nothing was audited, and dist/NOT-AUDITED stands beside the wheel until it is.

`--lock` makes the first alone. Versions that the lock has stay; further words go to pip-compile: `--upgrade`, `--upgrade-package
NAME`, `--extra pgen` for what an extra brings. No address of an index is written anywhere: pip's own configuration says where
packages are.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST, LOCK, PROJECT = ROOT / "dist", ROOT / "requirements.lock", ROOT / "pyproject.toml"
HEADER = "# Made by make release from pyproject.toml. pip install --require-hashes -r requirements.lock"
UNREACHABLE = re.compile(
    r"ConnectionError|ConnectTimeout|ServiceError|Max retries|NameResolution|HTTPError|timed out|ProxyError"
)


def run(*words: object, **options: object) -> subprocess.CompletedProcess:
    """Run a program; its own message is the error of this one."""
    return subprocess.run(list(map(str, words)), cwd=ROOT, check=True, **options)


def lock(*options: str) -> None:
    """Write requirements.lock from pyproject.toml. options: more of pip-compile."""
    run(
        sys.executable, "-m", "piptools", "compile", "--quiet", "--generate-hashes", "--strip-extras", "--allow-unsafe",
        "--no-emit-index-url", "--no-emit-trusted-host", "--no-emit-find-links", "--no-annotate", "--no-header",
        "--output-file", LOCK.name, *options, "pyproject.toml",
    )  # fmt: skip
    LOCK.write_text(f"{HEADER}\n{LOCK.read_text()}")


def wheel() -> Path:
    """Build both distributions; returns the wheel."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", DIST)
    (found,) = DIST.glob("*.whl")
    return found


def deployed(made: Path) -> Path:
    """An environment of the lock and the wheel; returns its interpreter."""
    venv.create(DIST / "env", with_pip=True)
    python = DIST / "env" / "bin" / "python"
    run(python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--require-hashes", "-r", LOCK)
    run(python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps", "--no-index", made)
    run(python, "-P", "-c", "import securegen", env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")})
    return python


def bill(python: Path, made: Path, *options: str) -> Path:
    """The bill of materials of an environment, which is held against the schema. options: more of cyclonedx_py."""
    name, version = made.name.split("-")[:2]
    out, about = DIST / f"{name}-{version}.cdx.json", DIST / "about.toml"
    about.write_text(PROJECT.read_text().replace('dynamic = ["version"]', f'version = "{version}"'))
    run(
        sys.executable, "-m", "cyclonedx_py", "environment", "--of", "JSON", "--output-reproducible", "--pyproject", about,
        "--mc-type", "application", *options, "-o", out, python,
    )  # fmt: skip
    about.unlink()
    return out


def audit() -> str:
    """What pip-audit says of the lock, in a line. Raises SystemExit where it knows a vulnerability."""
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--requirement", LOCK, "--require-hashes", "--disable-pip",
         "--progress-spinner", "off"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    if done.returncode == 0:
        return "pip-audit: no known vulnerability in requirements.lock"
    if UNREACHABLE.search(said) and "Found " not in said:
        (DIST / "NOT-AUDITED").write_text(said)
        return "NOT AUDITED: no service of vulnerabilities could be reached (dist/NOT-AUDITED); run make release where one can"
    sys.exit(f"pip-audit:\n{said}\na newer version: make release LOCK='--upgrade-package NAME'")


def main() -> None:
    lock(*(word for word in sys.argv[1:] if word != "--lock"))
    if "--lock" in sys.argv:
        return
    made = wheel()
    out = bill(deployed(made), made)
    shutil.rmtree(DIST / "env")
    print(f"{made.name}, its sdist and {out.name} are in dist/")
    print(audit())


if __name__ == "__main__":
    main()
