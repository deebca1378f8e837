"""What a policy says of noise: of phenotypes, of whole people, and how much."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from securegen.design.columns import AppliedNoise
from securegen.governance.decision import Reason
from securegen.governance.policy import Policy


def exact_reasons(policy: Policy, names: Sequence[str]) -> Iterator[Reason]:
    """What a policy that wants noise says of phenotypes whose statistics are exact."""
    if names and policy["noise.required"]:
        said = f"exact statistics of a phenotype are refused: {', '.join(names)}"
        yield Reason("policy.noise", False, said, policy.line("noise.required"))


def whole_people_reasons(policy: Policy, others: Sequence[str]) -> Iterator[Reason]:
    """What a policy says of outputs without noise of whole people, where it wants this of all."""
    if policy["noise.whole_people"]:
        said = f"no noise of whole people: {', '.join(others)}" if others else "noise of whole people"
        yield Reason("policy.noise_whole_people", not others, said, policy.line("noise.whole_people"))


def strength_reasons(policy: Policy, noises: Iterable[AppliedNoise | None]) -> Iterator[Reason]:
    """Whether ε and δ of any noise are within the largest."""
    for noise in dict.fromkeys(n for n in noises if n is not None):
        for key, found in (("epsilon", noise.epsilon), ("delta", noise.delta or 0.0)):
            most = policy[f"noise.{key}"]
            said = f"{key} {found:g}; at most {most:g} is allowed"
            yield Reason(f"policy.noise_{key}", 0 <= found <= most, said, policy.line(f"noise.{key}"))
