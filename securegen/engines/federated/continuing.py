"""A study that goes on without a site: a new study with new keys, of which nothing but its file comes from the old one.

The same sum with a site and without it are that site's own sums, whatever keys hide their parts. So a site goes on only where
no total with the leaving site can be open, since it sent no sum itself or the leaving site signed that it had sent none, or
where the leaving site agreed when it joined. Each site looks at its own ledger and memory; nobody is believed but the leaving
site, by its signature. Who learns what: whoever reads the new study file sees which study it continues, and without whom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from securegen.engines.federated.admission import LEDGER
from securegen.engines.federated.hub import open_folder
from securegen.engines.federated.leaving import OwnPart, agrees, end_part, part_of, sums_among, sums_of_left
from securegen.engines.federated.message_folder import SUFFIX, MessageFolder
from securegen.engines.federated.messages import ACCEPT, LEFT, read_head
from securegen.engines.federated.own_inputs import named_file
from securegen.engines.federated.state import open_memory, study_folder
from securegen.engines.federated.study_folder import refuse_written, write_folder
from securegen.engines.federated.study_toml import new_study_id
from securegen.engines.federated.studyfile import LOADINGS, PC_VARIANTS, Leaver, Site, StudyFile
from securegen.errors import PolicyError, ProtocolError, UsageError
from securegen.governance.ledger_file import open_ledger
from securegen.governance.signing import read_identity
from securegen.governance.site_sets import StudySites
from securegen.io.strict_json import read_regular


def continue_study(
    folder: str | Path,
    out: str | Path,
    key: str | Path,
    *,
    without: Sequence[str],
    two_sites_learn_each_other: bool = False,
    passphrase: bytes | None = None,
) -> StudyFile:
    """Write into the folder `out` the study of `folder` as it goes on without some sites: a new study, with new keys.

    key: the coordinator's signing key of the old one; passphrase: of that file. Everything else is the old study's; with two
    sites left, two_sites_learn_each_other is asked again. Every site joins and runs it as any other; each goes on only where
    no total with the sites in `without` can be open, or these agreed when they joined. Returns the new study.

    Raises UsageError for a site that the study does not have, PolicyError for another coordinator's key, too few sites, or
    where the messages in `folder` show that the sites would refuse, StorageError where `out` has a study.
    """
    study, listed = open_folder(Path(folder))
    coordinator = read_identity(key, passphrase=passphrase)
    if coordinator.verify_key != study.coordinator:
        raise PolicyError(
            f"{key} is not the key of the study's coordinator: who began a study continues it, or `init` another"
        )
    refuse_written(Path(out))
    named = {LOADINGS: study.loadings_digest, PC_VARIANTS: study.pc_variants_digest}
    named |= dict(study.sets.files) if study.sets else {}
    files = {file: named_file(Path(folder) / file, digest, "the study") for file, digest in named.items() if digest}
    made = new_study(Path(folder), study, without, two_sites_learn_each_other)
    return write_folder(Path(out), made, coordinator, listed, files)


def new_study(folder: Path, study: StudyFile, without: Sequence[str], two_sites_learn_each_other: bool) -> StudyFile:
    """The study of a folder without some of its sites, before it is signed. Raises UsageError for a site that it does not
    have, PolicyError where the messages in the folder show that its sites would not go on."""
    gone = [study.site(name) for name in dict.fromkeys(without)]
    if study.ld_prune_on in without:
        raise UsageError(
            f"the study leaves out variants by the genotypes of site {study.ld_prune_on}: set up another study"
        )
    message_folder = MessageFolder(folder, study)
    leavers = tuple(Leaver(s.name, s.verify_key, _left_line(message_folder, s)) for s in gone)
    rest = tuple(s for s in study.sites if s not in gone)
    _refuse_open(message_folder, study, rest, leavers)
    return replace(
        study, digest="", study_id=new_study_id(), sites=rest, continues=study.digest, without=leavers,
        two_sites_learn_each_other=two_sites_learn_each_other,
    )  # fmt: skip


def _left_line(message_folder: MessageFolder, site: Site) -> str:
    """What a site signed when it left, empty where it did not."""
    if message_folder.read(site, LEFT) is None:
        return ""
    raw = read_regular(message_folder.path(site.name, LEFT), "a message", most=1 << 16, error=ProtocolError)
    read_head(raw, "the message of a site that left")
    return raw.partition(b"\n")[0].decode()


def _refuse_open(
    message_folder: MessageFolder, study: StudyFile, rest: Sequence[Site], leavers: Sequence[Leaver]
) -> None:
    """What the sites will refuse anyhow; a folder that lacks their messages shows nothing, and they look at their own."""
    sent = [
        s.name
        for s in rest
        if sums_among(p.name.removesuffix(SUFFIX) for p in (message_folder.folder / s.name).glob(f"*{SUFFIX}"))
    ]
    accepts = {s.name: message_folder.read(study.site(s.name), ACCEPT) for s in leavers}
    agreed = {name for name, accept in accepts.items() if accept is not None and agrees(accept)}
    silent = [s.name for s in leavers if s.name not in agreed | _unsummed(study.digest, leavers)]
    if sent and silent and not study.consent_openings:
        raise PolicyError(_refusal(silent, f"site {', '.join(sent)}"))


def _unsummed(digest: str, leavers: Sequence[Leaver]) -> set[str]:
    """Names of those that signed, when they left, that they had sent no sum. One that lies shows its own sums alone."""
    return {s.name for s in leavers if s.left and sums_of_left(digest, Site(s.name, s.verify_key), s.left) == 0}


def _refusal(sites: Sequence[str], who: str) -> str:
    names = ", ".join(sites)
    return (
        f"the study cannot go on without site {names}: {who} has sent sums in it, totals with those of {names} may be open, and "
        f"their difference to the totals of the new study would be the sums of {names} alone. It did not agree to that when it "
        "joined (--may-leave), nor sign that it left before its first sum (securegen study leave)"
    )


def check_continued(study: StudyFile, state: Path) -> None:
    """Raise PolicyError where this site may not go on, ProtocolError where the study file is not true. Changes nothing."""
    if not study.continues:
        return
    known, part = None, OwnPart(0, 0)
    if (state / LEDGER).exists():
        with open_ledger(state / LEDGER) as ledger:
            known = ledger.study(study.continues)
    if study_folder(state, study.continues).exists():
        with open_memory(state, study.continues) as memory:
            part = part_of(memory)
    _judge(study, known, part)


def end_continued(study: StudyFile, state: Path, policies: Sequence[Path] = ()) -> None:
    """End this site's part in the study that goes on as this one, and delete what it kept of it. Raises as `check_continued`.

    policies: folders of those that govern the site.

    Repeated after a crash it goes on where it was: first the part ends, then its keys go, then the ledger is told.
    """
    if not study.continues:
        return
    with open_memory(state, study.continues) as memory, open_ledger(state / LEDGER, policies=policies) as ledger:
        known = ledger.study(study.continues)
        _judge(study, known, part_of(memory))
        if memory.get("finished") is None:
            names = ", ".join(s.name for s in study.without)
            end_part(memory, f"the study goes on without site {names} as study {study.digest[:16]}")
        ledger.unsummed(study.continues, _unsummed(study.continues, study.without))


def _judge(study: StudyFile, known: StudySites | None, part: OwnPart) -> None:
    """known: what the ledger has of the old study; part: what this site did in it."""
    if known is not None:
        said = {(s.name, s.verify_key.hex()) for s in study.sites}
        said |= {(s.name, s.verify_key.hex()) for s in study.without}
        if said != set(known.sites):
            raise ProtocolError(
                f"the study file says that it continues study {study.continues[:16]} without "
                f"{', '.join(s.name for s in study.without)}: that study had other sites, or with other keys"
            )
    unsummed = _unsummed(study.continues, study.without)
    if unsummed and part.totals:
        raise ProtocolError(
            f"site {', '.join(sorted(unsummed))} signed that it left study {study.continues[:16]} before its first sum, and this "
            "site has opened totals with it"
        )
    if not part.sums and (known is None or not known.begun):
        return
    allowed = unsummed | (set() if known is None else known.agreed)
    silent = [s.name for s in study.without if s.name not in allowed]
    if silent:
        raise PolicyError(_refusal(silent, "this site"))
