"""OpenFHE beside the others, as a process: its wheels are for one version of Python each, seldom the one in use.

`python openfhe_peer.py DATA.npz SUMS.npy`, with (V, N) dosages g and (N, K) columns c in DATA: encrypts, says "ready",
then for every line "run" computes once, and for "result" decrypts into SUMS; it answers "done". It needs openfhe and
numpy, and Python 3.10 or later.
"""

from __future__ import annotations

import sys

import numpy as np
import openfhe as fhe


class OpenFhe:
    """OpenFHE's EvalMultNoRelin and EvalAdd: CKKS with variants in the slots, n = 4096, no rescaling."""

    def __init__(self, g: np.ndarray, c: np.ndarray) -> None:
        parameters = fhe.CCParamsCKKSRNS()
        parameters.SetMultiplicativeDepth(1)
        parameters.SetScalingTechnique(fhe.ScalingTechnique.FIXEDMANUAL)
        parameters.SetFirstModSize(60)
        parameters.SetScalingModSize(32)  # two words; sums at the squared scale need 88 bits of the 92
        parameters.SetSecurityLevel(fhe.SecurityLevel.HEStd_NotSet)
        parameters.SetRingDim(4096)
        parameters.SetBatchSize(2048)
        self.context = context = fhe.GenCryptoContext(parameters)
        context.Enable(fhe.PKESchemeFeature.PKE)
        context.Enable(fhe.PKESchemeFeature.LEVELEDSHE)
        self.keys = context.KeyGen()
        # the secret squared is decrypted without a relinearisation key from its own evaluation key
        context.EvalMultKeyGen(self.keys.secretKey)

        def encrypt(values: np.ndarray):
            return context.Encrypt(self.keys.publicKey, context.MakeCKKSPackedPlaintext(values.astype(float).tolist()))

        self.variants, self.columns = len(g), c.shape[1]
        starts = range(0, len(g), 2048)
        self.left = [[encrypt(column) for column in g[v : v + 2048].T] for v in starts]
        self.right = [[encrypt(np.full(2048, value)) for value in row] for row in c]

    def run(self) -> None:
        multiply, add = self.context.EvalMultNoRelin, self.context.EvalAdd
        self.sums = []
        for block in self.left:
            sums = [multiply(block[0], right) for right in self.right[0]]
            for x, row in zip(block[1:], self.right[1:], strict=True):
                sums = [add(s, multiply(x, right)) for s, right in zip(sums, row, strict=True)]
            self.sums.append(sums)

    def result(self) -> np.ndarray:
        def read(ciphertext) -> list[float]:
            plain = self.context.Decrypt(ciphertext, self.keys.secretKey)
            plain.SetLength(2048)
            return plain.GetRealPackedValue()

        return np.concatenate([np.array([read(s) for s in block]).T for block in self.sums])[: self.variants]


def main(data: str, sums: str) -> None:
    with np.load(data, allow_pickle=False) as arrays:
        task = OpenFhe(arrays["g"], arrays["c"])
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "run":
            task.run()
        else:
            np.save(sums, task.result())
        print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
