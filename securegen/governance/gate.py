"""What stands in every door: the policy that governs a run, who asks, and the ledger of what these people were in.

A writer of results takes a `Gate` and calls `release` before its first byte. A gate without a policy lets all through, and
only `gate_of` makes one, after it has looked for a policy beside every file. The decision is `door.release`'s; what is
allowed is in the ledger, on disk, before anything is shown.

Who learns what: whoever runs the command reads the decision. The ledger has HMACs of people, and stays beside the policy.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from securegen.design.columns import AppliedNoise
from securegen.errors import PolicyError, UsageError
from securegen.governance import audit_release, consent_steps, ledger_place, policy_file, registers, second_signature
from securegen.governance.asker import canonical_purpose, who_asks
from securegen.governance.audit_entry import moment
from securegen.governance.audit_note import Checkpoint
from securegen.governance.decision import Decision, Reason
from securegen.governance.door import NOISY, OutputFacts, Request, release
from securegen.governance.fingerprint import Fingerprints
from securegen.governance.history import LEDGER as LEDGER
from securegen.governance.history import PeopleFacts, history_of, rows_between
from securegen.governance.label_noise import noise_line
from securegen.governance.ledger import Entries
from securegen.governance.ledger_file import open_ledger
from securegen.governance.noise_store import believed
from securegen.governance.pin import Pin
from securegen.governance.policy import Policy
from securegen.governance.rows_between import RowsBetween
from securegen.governance.signing import fingerprint
from securegen.governance.visa import Visa
from securegen.model import GenotypeReader, Samples
from securegen.randomness import fresh_key

Log = Callable[[str], None]


def _nothing_waits() -> None:
    pass


@dataclass(frozen=True)
class Asking:
    """Who asks, and under what. policy: the file, None for the one that stands beside the data; identity: file of the signing
    key of who asks; purpose: DUO code; second_signature: files of these; consent: the register that the purpose is held
    against; mondo: a table of diseases in place of the shipped one; visa: files of GA4GH visas of who asks."""

    policy: str | os.PathLike[str] | None = None
    identity: str | os.PathLike[str] | None = None
    purpose: str | None = None
    second_signature: tuple[str, ...] = ()
    consent: str | os.PathLike[str] | None = None
    mondo: str | os.PathLike[str] | None = None
    visa: tuple[str, ...] = ()

    def asked(self) -> dict[str, str] | None:
        """What a purpose is held against, to be kept beside what is opened later; None where none is named."""
        if self.purpose is None or self.consent is None:
            return None
        more = {} if self.mondo is None else {"mondo": os.path.abspath(self.mondo)}
        return {"purpose": self.purpose, "register": os.path.abspath(self.consent), **more}

    def again(self, asked: Mapping[str, str]) -> Asking:
        """The same for the purpose of `asked`, whatever is named now."""
        return replace(self, purpose=asked["purpose"], consent=asked["register"], mondo=asked.get("mondo"))

    def refuse_withdrawn(self, samples: Samples, people: np.ndarray | None = None) -> None:
        """Raises as `consent_steps.refuse_withdrawn`; nothing where no purpose is named."""
        if self.purpose is not None and self.consent is not None:
            consent_steps.refuse_withdrawn(self.consent, samples, self.purpose, people, mondo=self.mondo)


@dataclass
class Gate:
    """One run's door. policy: None where nothing governs; decisions: so far, for the receipt; noise: of tables that asked;
    kinds: that were allowed; draws: folders of stored draws by which noise is believed, None where it was read from an
    authenticated record; allowed: is called when something is allowed, for lines that wait; rows: withheld of what was."""

    policy: Policy | None
    engine: str
    asking: Asking = Asking()
    who: str | None = None
    role: str = ""
    folder: Path | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    people: PeopleFacts | None = None
    extra: Callable[[], Iterable[Reason]] = tuple
    log: Log = print
    decisions: list[Decision] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    witnesses: list[Checkpoint] = field(default_factory=list)
    noise: list[AppliedNoise] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    draws: tuple[Path, ...] | None = ()
    allowed: Callable[[], None] = _nothing_waits
    visas: tuple[Visa, ...] = ()
    rows: RowsBetween | None = None

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where the policy stands, if one governs: the audit log there knows ledgers."""
        return () if self.folder is None else (self.folder,)

    @property
    def pin(self) -> Pin | None:
        """What keys, cohorts and studies remember of the policy."""
        return None if self.policy is None else Pin.of(self.policy)

    @property
    def minor_alleles(self) -> int:
        """Rows with fewer are not shown."""
        return 0 if self.policy is None else int(self.policy["limits.minor_alleles"])

    def of(self, people: PeopleFacts, inputs: Mapping[str, str] | None = None) -> Gate:
        """The same gate for these people and digests of files."""
        return replace(self, people=people, inputs=self.inputs if inputs is None else inputs)

    def hidden(self, what: str, place: str, start: int, stop: int) -> np.ndarray:
        """(V,) bool: rows withheld of what was released, as `RowsBetween.hidden`."""
        return np.zeros(stop - start, bool) if self.rows is None else self.rows.hidden(what, place, start, stop)

    def joined(self, other: Gate) -> Gate:
        """Another gate of the same run, whose decisions are kept with these."""
        kept = {name: getattr(self, name) for name in ("decisions", "requests", "witnesses", "noise", "kinds")}
        return replace(other, **kept)

    def check(self, outputs: Sequence[OutputFacts], *, early: bool = False) -> Decision | None:
        """What would be decided now; enters nothing. early: before it is known what leaves, so that it may be a repetition, and
        budgets of releases are not asked. Raises PolicyError naming the rule that refuses."""
        return self._decide(outputs, enter=False, early=early)

    def release(self, outputs: Sequence[OutputFacts]) -> Decision | None:
        """Decide, and enter what is allowed into the ledger. Raises PolicyError naming the rule; then nothing is entered."""
        return self._decide(outputs, enter=True)

    def claim(self, samples: Samples, sets: Sequence[tuple[str, np.ndarray]], name: str) -> None:
        """Enter in the register of consent that exact results of these people leave; nothing where no purpose is named.

        sets: words of `releases.analysis_of`, and (N,) bool; name: of the run. Raises PolicyError as `consent_steps.claim`.
        """
        if self.asking.purpose is not None and self.asking.consent is not None:
            consent_steps.claim(self.asking.consent, samples, sets, self.asking.purpose, name, mondo=self.asking.mondo)

    def again(self, asked: Mapping[str, str]) -> Gate:
        """The same gate for what was made for the purpose of `asked`, whatever is named now."""
        return self.joined(replace(self, asking=self.asking.again(asked)))

    def enrol(self, reader: GenotypeReader) -> None:
        """Enter people whose genotypes are here in the clear into the ledger, so that they are known later by their ids alone.
        Nothing where nothing governs. Raises StorageError."""
        if self.policy is not None:
            with self._ledger(True) as ledger:
                ledger_place.settle(ledger, Path(self.folder or ".") / LEDGER, self.policy)
                ledger.rows(reader.samples, Fingerprints(reader))
                registers.remember(ledger, self.asking.asked())

    def passed(self, *, noisy: bool = False) -> None:
        """Raises PolicyError unless `release` allowed something, or nothing governs: for writers of a part of it. noisy: a
        summary with noise, which has no floors, and opens nothing else."""
        kinds = {kind for kind in self.kinds if (kind == NOISY) == noisy}
        if self.policy is not None and not (kinds and any(d.allowed for d in self.decisions)):
            raise PolicyError("policy.request: these results did not pass the door")

    def record(self) -> dict[str, Any]:
        """What run.json and the receipt say; nothing where nothing governs."""
        if self.policy is None:
            return {}
        return {
            "governance": {
                "policy": {
                    "name": self.policy["name"], **Pin.of(self.policy).to_json(),
                    "fingerprint": fingerprint(bytes.fromhex(self.policy.steward)),
                },
                "who": self.who, "role": self.role, "purpose": self.asking.purpose, "requests": list(self.requests),
                "decisions": [d.to_json() for d in self.decisions],
                **({"visas": [v.digest for v in self.visas]} if self.visas else {}),
                **({"audit": self.witnesses[-1].to_json()} if self.witnesses else {}),
            }
        }  # fmt: skip

    def lines(self) -> list[str]:
        """Noise on phenotypes, and the decisions, for people: one line a rule."""
        noise = [noise_line(n.epsilon, n.delta) for n in self.noise]
        if self.policy is None:
            return noise
        who = self.who or "somebody without an identity"
        out = [
            f"policy {self.policy['name']}, version {self.policy.version}: {who} asks as {self.role}, purpose "
            f"{self.asking.purpose or 'not named'}"
        ]
        reasons = (r for d in self.decisions for r in d.reasons)
        seen = dict.fromkeys(f"  {'allowed' if r.allowed else 'REFUSED'}, {r}" for r in reasons)
        return [*noise, *out, *seen]

    def _decide(self, outputs: Sequence[OutputFacts], *, enter: bool, early: bool = False) -> Decision | None:
        outputs = believed(outputs, self.draws if enter else None, self.log)
        of_phenotypes = dict.fromkeys(o.noise for o in outputs if o.kind != NOISY)
        self.noise += [n for n in of_phenotypes if n is not None and n not in self.noise]
        if self.policy is None or not outputs:  # nothing leaves
            return None
        policy, now = self.policy, datetime.datetime.now(datetime.UTC)
        request = Request(
            policy, self.role, self.engine, tuple(outputs), now.date(), self.who, self.asking.purpose,
            tuple(sorted(self.inputs.items())), reasons=tuple(self.extra()), visas=self.visas,
        )  # fmt: skip
        request = replace(request, second=second_signature.who_signed(request, self.asking.second_signature))
        with self._ledger(enter) as ledger:
            if ledger.policy is not None:
                Pin.from_json(ledger.policy).refuse_other(policy, "the ledger of these people")
            entries = audit_release.entries_beside(folder := self.folder or Path("."))
            audit_release.refuse_older(ledger, entries)
            ledger_place.settle(ledger, folder / LEDGER, policy)
            now = max([now, *(moment(e.at) for e in entries[-1:])])  # never back
            request = replace(request, today=now.date(), now=int(now.timestamp()))
            history = history_of(ledger, request, self.people)
            request = replace(request, history=replace(history, repeated=True) if early else history)
            asked = self.asking.asked()
            more = *registers.reasons(ledger, self.people, asked), *audit_release.unusual_reasons(request, entries)
            decision = release(replace(request, reasons=(*request.reasons, *more)))
            if entered := enter and decision.allowed:
                ledger.policy = Pin.of(policy).to_json()
                registers.remember(ledger, asked)
                if all(digest != request.digest for digest, _ in ledger.releases):
                    ledger.releases.append((request.digest, request.today.isoformat()))
                ledger.keep()  # before the log names it
            if enter and request.digest not in self.requests or not decision.allowed:  # a run asks again: one release
                self.witnesses.append(audit_release.tell(folder, request, decision, ledger if entered else None))
                self.decisions.append(decision)
                self.requests.append(request.digest)
            if not decision.allowed:
                for line in self.lines():
                    self.log(line)
            decision.require()
        self.rows = rows_between(history, self.people, self.minor_alleles)
        self.kinds += [o.kind for o in outputs] if enter else []
        self.allowed()
        return decision

    @contextlib.contextmanager
    def _ledger(self, enter: bool) -> Iterator[Entries]:
        """The ledger, which keeps what is entered; without `enter` one that forgets."""
        path = Path(self.folder or ".") / LEDGER
        if not enter and not os.path.lexists(path):
            yield Entries(fresh_key() + fresh_key())
            return
        with open_ledger(path, self.log if enter else None, audited=False, kept=enter) as ledger:
            yield ledger


def ungoverned(engine: str = "") -> Gate:
    """The gate of what releases nothing, as a server. It holds no results back: writers are given that of `gate_of`."""
    return Gate(None, engine)


def gate_of(
    engine: str, asking: Asking, files: Iterable[str | os.PathLike[str]], *, pins: Iterable[tuple[str, Pin | None]] = (),
    log: Log = print, consent: bool = True,
) -> Gate:  # fmt: skip
    """The gate of a run: under the named policy, the one beside its files, or none where there is none.

    files: whatever the run reads; pins: what remembers a policy, and its pin; consent: False where no register of it is
    asked, here or by another party. Raises UsageError for a purpose that nothing is held against, PolicyError where a policy
    is not as it was signed, two govern, or a pin's is not there, KeyFileError for an identity that cannot be read.
    """
    asking = replace(asking, purpose=canonical_purpose(asking.purpose))
    found = policy_file.beside(files)
    policy, folder = policy_file.governing(asking.policy, found)
    for what, pin in pins:
        if pin is None:
            continue
        if policy is None:
            raise PolicyError(
                f"policy.file: {what} is governed by a policy, version {pin.version}, and none is here: put policy.toml and its "
                "signature beside it, or name it by `policy`"
            )
        pin.refuse_other(policy, what)
    if policy is None:
        if asking.second_signature or asking.visa or asking.identity is not None:
            raise PolicyError(
                "policy.file: an identity, visa or second signature is given, and no policy governs these data"
            )
        if asking.purpose is not None and asking.consent is None and not consent:
            raise UsageError(
                "`purpose` says what the data are used for: give the register of who allows it (`consent`), or a policy that does"
            )
        return Gate(None, engine, asking, log=log)
    ledger_place.refuse_second(folder, [other.with_name(LEDGER) for other in found[1:]])
    audit_release.refuse_unsigned_rules(folder)
    who, role, visas = who_asks(policy, asking.identity, asking.visa, folder)
    return Gate(policy, engine, asking, who, role, folder, log=log, draws=(folder,), visas=visas)
