"""Three unchanged CrypTen programs between a hospital and a registry, on the hardened layer.

`python two_party_crypten.py` makes keys for three parties in a temporary directory and starts each as its own process;
`python two_party_crypten.py --directory D --party NAME` is one of them.

| party | holds | learns |
|---|---|---|
| hospital (rank 0) | features of people; a network | the trained coefficients, the k best, the predictions |
| registry (rank 1) | outcomes; scores; covariates and scores, the inputs of the network | the same |
| dealer | nothing | operations and sizes |

| message | from | to |
|---|---|---|
| keys of random numbers both know | hospital, registry | each other; dealer's to both |
| names and sizes of operations | hospital, registry | dealer |
| the share of a triple that no key makes | dealer | hospital |
| masked factors of a product, or of a comparison's bits | hospital, registry | each other |
| shares of what is opened | hospital, registry | each other |

Inputs cost no message: their shares come from keys. Semi-honest parties and a dealer that colludes with neither.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

from securegen.engines.mpc.loopback import loopback_study
from securegen.engines.mpc.net.certs import PartyIdentity
from securegen.engines.mpc.net.parties import read_parties
from securegen.engines.mpc.net.session import open_session

ROLES = {"hospital": "compute", "registry": "compute", "dealer": "dealer"}
STEPS, RATE, BEST = 5, 1.0, 3


def demonstration_data() -> dict[str, np.ndarray]:
    """Made-up data of 40 people; a real party would read its own part from its own disk."""
    generator = np.random.default_rng(5)
    x = generator.uniform(-1, 1, (40, 3))
    y = (x @ [1.0, -2.0, 0.5] + generator.normal(0, 0.5, 40) > 0).astype(np.float64)
    return {"features": x, "outcomes": y[:, None], "scores": generator.permutation(12) / 8.0 - 0.7,
            "risk": generator.uniform(-1, 1, (40, 3))}  # fmt: skip  # two covariates and a score


def network(torch, seed: int):
    """A small risk network of two covariates and a score: 3 inputs, 4 hidden units, one logit."""
    torch.manual_seed(seed)  # public: every party builds the same architecture, the weights are replaced on encryption
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))


def train(crypten, features, outcomes):
    """Logistic regression by gradient descent on shared data; opens the coefficients."""
    x, y = crypten.cryptensor(features, src=0), crypten.cryptensor(outcomes, src=1)
    w = crypten.cryptensor(features.new_zeros(features.shape[1], 1), src=0)
    for _ in range(STEPS):
        gradient = x.t().matmul((x.matmul(w)).sigmoid() - y) / len(features)
        w = w - gradient * RATE
    return w.get_plain_text()


def top_k(crypten, scores, k):
    """Which k are largest: every pair compared on shares, only the k flags opened."""
    x = crypten.cryptensor(scores, src=1)
    rank = (x.unsqueeze(0) > x.unsqueeze(1)).sum(1)  # how many are larger
    return (rank < k).get_plain_text()


def predict(crypten, model, inputs):
    """Inference of the hospital's network on the registry's inputs; opens the logits."""
    private = crypten.nn.from_pytorch(model, inputs[:1]).encrypt(src=0)
    return private(crypten.cryptensor(inputs, src=1)).get_plain_text()


def compute(session) -> dict:
    """A computing party: the three programs in turn."""
    import torch

    from securegen.engines.mpc.crypten.layer import hardened

    torch.set_num_threads(1)
    data = {name: torch.from_numpy(array).float() for name, array in demonstration_data().items()}
    mine = ("features",) if session.me == "hospital" else ("outcomes", "scores", "risk")
    known = {n: t if n in mine else torch.zeros_like(t) for n, t in data.items()}  # of the rest only the shape
    model = network(torch, seed=1 if session.me == "hospital" else 2)
    with hardened(session) as crypten:
        crypten.init()
        return {
            "coefficients": train(crypten, known["features"], known["outcomes"]).tolist(),
            "best": top_k(crypten, known["scores"], BEST).tolist(),
            "logits": predict(crypten, model, known["risk"]).tolist(),
        }


def run_party(directory: Path, name: str) -> dict:
    """Run party `name` of the study in `directory`; returns what it learnt."""
    parties = read_parties(directory / "parties.toml")
    with open_session(
        parties, PartyIdentity.in_directory(directory, name), protocol="crypten programs/1", dimensions={}
    ) as session:
        if name == "dealer":
            from securegen.engines.mpc.crypten.dealer import serve_crypten

            return {"requests served": serve_crypten(session)}
        return compute(session)


def main() -> None:
    """Start every party, or be the one named by --party."""
    parser = argparse.ArgumentParser(description="three CrypTen programs on the hardened layer")
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--party", choices=list(ROLES))
    arguments = parser.parse_args()
    if arguments.party:
        warnings.filterwarnings("ignore", category=UserWarning, module="crypten")
        print(json.dumps(run_party(arguments.directory, arguments.party)))
        return
    with tempfile.TemporaryDirectory() as directory:
        loopback_study(Path(directory), ROLES)
        command = [sys.executable, __file__, "--directory", directory, "--party"]
        children = {n: subprocess.Popen([*command, n], stdout=subprocess.PIPE, text=True) for n in ROLES}
        for name, child in children.items():
            for what, value in json.loads(child.communicate()[0] or "{}").items():
                print(f"{name} learnt {what}: {np.round(np.ravel(value), 3).tolist()}")
        if any(child.returncode for child in children.values()):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
