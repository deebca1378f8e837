"""Parties of a test: threads in this process that speak real mutual TLS over loopback."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from securegen.engines.federated import rehearsal
from securegen.engines.federated.site import run_site
from securegen.engines.mpc.loopback import loopback_study
from securegen.engines.mpc.net.certs import PartyIdentity
from securegen.engines.mpc.net.parties import read_parties, split_address
from securegen.engines.mpc.net.session import open_session
from securegen.engines.mpc.site_links import linked
from securegen.governance.signing import read_identity
from securegen.model import GenotypeBlock, Samples, Variants
from securegen.study.genotypes import open_genotypes


class Cohort:
    """What `genotype_run` needs of a reader. g: (M, N) int8, missing: (M, N) bool."""

    def __init__(self, g, missing):
        ids = np.array([f"p{i}" for i in range(g.shape[1])], object)
        text = np.array([f"rs{j}" for j in range(len(g))], object)
        self.g, self.missing, self.dosage_grid, self.dosage_max = g, missing, 1, 2
        self.samples = Samples(ids, ids, np.ones(len(ids), bool))
        self.variants = Variants(text, np.arange(len(g)), text, text, text)

    def read(self, start, stop):
        part = self.missing[start:stop]
        return GenotypeBlock(start, self.g[start:stop].copy(), part if part.any() else None)


class Study:
    """A local study whose parties run as threads; `run` returns each party's result or exception."""

    def __init__(self, directory: Path, roles: dict[str, str], timeout: float) -> None:
        self.directory = directory
        self.parties = loopback_study(directory, roles, timeout=timeout)

    def open(self, name, *, protocol="test/1", dimensions=None, parties=None):
        return open_session(
            parties or self.parties,
            PartyIdentity.in_directory(self.directory, name),
            protocol=protocol,
            dimensions=dimensions or {},
        )

    def port(self, name):
        return split_address(self.parties[name].address)[1]

    def run(self, programs, **terms):
        """programs: name to a function of the session (or of nothing when marked by `raw`)."""
        out = {}

        def body(name):
            try:
                with self.open(name, **terms) as session:
                    out[name] = programs[name](session)
            except BaseException as error:
                out[name] = error

        return self.threads({name: (lambda name=name: body(name)) for name in programs}, out)

    def threads(self, bodies, out):
        workers = [threading.Thread(target=body, daemon=True) for body in bodies.values()]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(self.parties.timeout * 4 + 20)
        assert not any(w.is_alive() for w in workers), "a party did not end"
        return out


@pytest.fixture
def study(tmp_path):
    def make(roles, timeout=60.0):
        if not isinstance(roles, dict):
            roles = dict.fromkeys(roles, "site")
        return Study(tmp_path / "study", roles, timeout)

    return make


def results(out):
    """The results, after raising the first exception of any party."""
    for value in out.values():
        if isinstance(value, BaseException):
            raise value
    return out


def over_tls(work: Path, inputs, *, timeout=60.0, sites=None):
    """A federated study of three sites in `work`, each a thread, over mutual TLS: what `run_site` returns by site.

    sites: only these are started; an exception is returned in place of a result.
    """
    local = work / "local"
    if not (work / "shared").exists():
        rehearsal.set_up(
            work, inputs, rehearsal.deal(open_genotypes(inputs), inputs.genotypes, 3), lambda line: None, openings="all"
        )
        loopback_study(local, dict.fromkeys(("site1", "site2", "site3"), "site"), timeout=timeout)
    parties = read_parties(local / "parties.toml")
    out = {}

    def body(name):
        own = replace(inputs, keep=str(work / name / "keep.txt"))
        key = read_identity(work / name / "private" / "site.secret")
        try:
            connect = linked(parties, PartyIdentity.in_directory(local, name))
            out[name] = run_site(
                work / "shared", work / name / "private", key, own, str(work / name / "result"), connect=connect
            )
        except BaseException as error:
            out[name] = error

    threads = [threading.Thread(target=body, args=(name,), daemon=True) for name in sites or parties.names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout * 4 + 20)
    assert not any(t.is_alive() for t in threads), "a site did not end"
    return out if sites else results(out)
