"""A site joins a study: whose keys it has heard by telephone, and what it signs.

Who learns what: whoever reads the shared folder sees which sites have joined, and which of them may leave.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from securegen.engines.federated import continuing, hub, leaving
from securegen.engines.federated.own_policy import refuse_terms
from securegen.engines.federated.own_purpose import keep_asked
from securegen.engines.federated.studyfile import StudyFile
from securegen.errors import PolicyError, UsageError
from securegen.governance import signing
from securegen.governance.audit_beside import key_used
from securegen.governance.gate import Asking

SITE_KEY = "site.secret"
COORDINATOR = "the coordinator"
Name = str | Path


def fingerprints(study: StudyFile) -> dict[str, str]:
    """What a study file says of keys: the fingerprint of the coordinator (COORDINATOR) and of every site."""
    marks = {s.name: signing.fingerprint(s.verify_key) for s in study.sites}
    return {COORDINATOR: signing.fingerprint(study.coordinator), **marks}


def own_key(state: Name, passphrase: bytes | None) -> signing.SigningIdentity:
    """The site's signing key, whose use is in the audit log of the policy in or beside its private folder, if there is one."""
    key = signing.read_identity(Path(state) / SITE_KEY, passphrase=passphrase)
    key_used(state, "unlocked", signing.key_digest(key.verify_key))
    return key


def site_of(study: StudyFile, state: Name, *, passphrase: bytes | None = None) -> str:
    """The site whose key is in `state`. Raises PolicyError for a key that the study does not have."""
    return study.site_of(own_key(state, passphrase).verify_key).name


def unheard(study: StudyFile, own: str, told: Mapping[str, str]) -> list[str]:
    """Of whom site `own` has heard no fingerprint. told: COORDINATOR or site -> what was heard there.

    Raises PolicyError where the study file has another key, UsageError for a site that it does not have.
    """
    marks = fingerprints(study)
    for name, text in told.items():
        if name not in marks:
            known = ", ".join(s.name for s in study.sites)
            raise UsageError(f"a fingerprint is given for {name}: the study has no such site; it has {known}")
        mark = signing.read_fingerprint(text)
        if name != own and marks[name] != mark:
            raise PolicyError(
                f"the study file has the key {marks[name]} for {name}, not {mark}: do not join, ask there"
            )
    return [name for name in marks if name not in (own, *told)]


def join(
    folder: Name,
    state: Name,
    *,
    fingerprints: Mapping[str, str],
    trust_study_file: bool = False,
    may_leave: bool = False,
    passphrase: bytes | None = None,
    asking: Asking | None = None,
) -> str:
    """Accept the study of a folder for the site whose key is in `state`. Returns the site's name.

    Whoever writes a study file can put keys of its own under the names of other sites: all sites but one see that one's
    sums. So fingerprints has what the coordinator (COORDINATOR) and every other site said by telephone.
    trust_study_file: go without those that are not given; asking: under which policy, by default that in `state`; may_leave:
    signed for all to see, this site agrees that the study goes on without it, or one without it becomes this one, after totals
    were opened: their difference is its own sums. Raises PolicyError where a fingerprint differs, for a stranger's key, where
    the study continues one without a site that did not agree, where the site's policy refuses the study, or where it has
    joined and said otherwise; UsageError where a fingerprint is absent.
    """
    study, _ = hub.open_folder(Path(folder))
    key = own_key(state, passphrase)
    absent = unheard(study, study.site_of(key.verify_key).name, fingerprints)
    if absent and not trust_study_file:
        raise UsageError(
            f"the fingerprints of {', '.join(absent)} were not given: ask there by telephone, then --coordinator "
            "FINGERPRINT and --site NAME=FINGERPRINT for every other site; --trust-study-file goes without"
        )
    refuse_terms(study, key, asking or Asking(), [Path(state), Path(state) / SITE_KEY])
    continuing.check_continued(study, Path(state))
    keep_asked(Path(state), study, asking or Asking())
    leaving.say_once(Path(state), study, may_leave)
    return hub.join(Path(folder), key, may_leave=may_leave)
