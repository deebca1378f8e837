"""The same sums of products Σ_i g_ij c_ik of encrypted numbers, as other libraries compute them.

Every class is made from (V, N) dosages and (N, K) columns, encrypts them outside the measured time, computes with
`run()`, and returns the decrypted (V, K) sums from `result()`.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import zstandard

from securegen.engines.ckks import codec
from securegen.engines.ckks.owner.secret_key import generate
from securegen.engines.ckks.owner.strands import strand_secrets
from securegen.engines.ckks.parameters import Parameters
from securegen.engines.ckks.planner import STRANDS
from securegen.kernels.crt import round_residues
from securegen.kernels.fold import fold_tiles, open_products
from securegen.kernels.ntt import inverse, ntt_tables
from securegen.kernels.residue_matmul import LANES, matmul_residues, pack_columns
from securegen.rlwe import seal
from securegen.rlwe.encryptor import encrypt_block, encrypt_strands
from securegen.rlwe.residues import from_tiles
from securegen.rlwe.ring import Ring
from securegen.rlwe.uniform import expand_uniform

GENOTYPE_SCALE, DESIGN_SCALE = 33, 24  # log2; exact for the sizes of these benchmarks


class Packed:
    """Ciphertexts of `pack` samples × n/pack variants, and their decryption, for SEAL."""

    def __init__(self, g: np.ndarray, c: np.ndarray, ring: Ring, pack: int) -> None:
        variants, samples = g.shape
        norm = float(np.sqrt((c.astype(float) ** 2).sum(0).max()))
        self.ring, self.columns = ring, c.shape[1]
        self.parameters = p = Parameters(ring, pack, GENOTYPE_SCALE, DESIGN_SCALE, int(g.max()), norm, samples)
        self.key_stream, self.key = seal.new_secret_key(ring)
        width = p.block_variants
        self.blocks = [
            self.encrypt(codec.genotype_messages(g[v : v + width], 0, p.groups, p)[:, 0, 0], GENOTYPE_SCALE)
            for v in range(0, variants, width)
        ]
        self.design = self.encrypt(codec.design_messages(c.T, 0, p.groups, p).reshape(-1, ring.n), DESIGN_SCALE)

    def encrypt(self, messages: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
        """Both halves, (k, T, C, L)."""
        seed, c0 = encrypt_block(self.key, messages, scale, self.ring)
        return c0, expand_uniform(seed, len(messages), self.ring)

    def decrypt(self, products: np.ndarray) -> np.ndarray:
        """(J, 3, k, n) residues of one block -> (n/pack, J) integers."""
        primes = np.array(self.ring.primes, np.uint64)[:, None]
        c0, c1, c2 = products.astype(np.uint64).transpose(1, 0, 2, 3)
        m = (c0 + (c1 + c2 * self.key % primes) % primes * self.key) % primes
        inverse(m, tuple(ntt_tables(self.ring.n, q) for q in self.ring.primes))
        sums = [
            round_residues(row, self.ring.primes, self.parameters.result_scale)[0][
                self.parameters.pack - 1 :: self.parameters.pack
            ]
            for row in m
        ]
        return np.stack(sums, axis=1)


class Securegen:
    """As the server has them: blocks of strands and the columns with their public halves, one matrix product a block."""

    def __init__(self, g: np.ndarray, c: np.ndarray, ring: Ring, pack: int) -> None:
        ring = replace(ring, lanes=LANES)
        samples, self.columns = c.shape
        strands = min(STRANDS, len(g) * pack // ring.n)
        norm = float(np.sqrt((c.astype(float) ** 2).sum(0).max()))
        self.parameters = p = Parameters(ring, pack, GENOTYPE_SCALE, DESIGN_SCALE, int(g.max()), norm, samples, strands)
        self.key = generate(p)
        width = p.block_variants
        parts = [codec.genotype_messages(g[v : v + width], 0, p.groups, p)[:, :, 0] for v in range(0, len(g), width)]
        self.blocks = [self.encrypt(m, GENOTYPE_SCALE) for m in parts]
        self.design = self.encrypt(codec.design_messages(c.T, 0, p.groups, p), DESIGN_SCALE)
        self.primes = np.array(ring.primes, np.uint64)
        shape = (len(ring.primes), ring.tiles, strands + 1, self.columns + 1, ring.lanes)
        self.out = np.zeros((len(self.blocks), *shape), np.uint32)

    def encrypt(self, messages: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
        """Public halves (k, T, G, 1, L), and strands (k, T, G, S, L)."""
        ring, keys = self.parameters.ring, strand_secrets(self.key, range(messages.shape[1]))
        seed, c0 = encrypt_strands(keys, messages, scale, ring)
        return expand_uniform(seed, len(messages), ring)[:, :, :, None], c0

    def run(self) -> None:
        self.out[:] = 0
        matmul_residues([[b] for b in self.blocks], pack_columns([self.design], self.primes), self.primes, self.out)

    def result(self) -> np.ndarray:
        p, columns = self.parameters, []
        keys = strand_secrets(self.key, range(max(p.strands, self.columns)))
        for tiles in self.out:
            sums = fold_tiles(tiles[:, :, 1:, 1:], p.pack, p.ring.primes)
            whole = tiles.transpose(0, 2, 3, 1, 4).reshape(*sums.shape[:1], *tiles.shape[2:4], p.ring.n)
            opened = open_products(
                sums, whole[:, 1:, :1], whole[:, :1, 1:], whole[:, :1, :1], keys[: p.strands], keys[: self.columns],
                p.pack, p.ring.primes,
            )  # fmt: skip
            flat = np.ascontiguousarray(opened.transpose(2, 0, 3, 1)).reshape(len(p.ring.primes), -1)
            columns.append(round_residues(flat, p.ring.primes, p.result_scale)[0].reshape(-1, self.columns))
        return np.concatenate(columns)


class Seal(Packed):
    """SEAL's multiply and add, through TenSEAL's sealapi, on the same ciphertexts."""

    def __init__(self, g: np.ndarray, c: np.ndarray, ring: Ring, pack: int) -> None:
        import tenseal.sealapi as api

        super().__init__(g, c, ring, pack)
        self.context, self.api = seal.context(ring), api
        zero = api.Ciphertext()
        key = seal.load(api.SecretKey(), self.context, self.key_stream)
        api.Encryptor(self.context, key).encrypt_zero_symmetric(self.context.first_parms_id(), zero)
        self.template = seal.dump(zero)
        self.left = [self.objects(*block) for block in self.blocks]
        columns = self.objects(*self.design)
        self.right = [columns[i : i + self.columns] for i in range(0, len(columns), self.columns)]
        self.sums: list[list] = []

    def objects(self, c0: np.ndarray, c1: np.ndarray) -> list:
        """SEAL's ciphertexts of tiled halves: SEAL's own stream of one, uncompressed, with other residues."""
        body = zstandard.ZstdDecompressor().decompressobj().decompress(self.template[16:])
        residues = np.stack([from_tiles(c0, self.ring), from_tiles(c1, self.ring)], axis=1)
        size = residues[0].nbytes
        head = self.template[:5] + b"\0" + self.template[6:8] + struct.pack("<Q", 16 + len(body))
        out = []
        for one in residues:
            stream = head + body[:-size] + one.astype("<u8").tobytes()
            out.append(seal.load(self.api.Ciphertext(), self.context, stream))
        return out

    def run(self) -> None:
        self.sums = multiply_and_add(self.api, self.context, self.left, self.right)

    def result(self) -> np.ndarray:
        k, n = len(self.ring.primes), self.ring.n
        return np.concatenate([self.decrypt(np.stack([seal.residues(s, 3, k, n) for s in b])) for b in self.sums])


def multiply_and_add(api, context, left: list, right: list) -> list:
    """[block][group] × [group][column] -> [block][column], size-3 ciphertexts."""
    evaluator, product, out = api.Evaluator(context), api.Ciphertext(), []
    for block in left:
        sums = [api.Ciphertext() for _ in right[0]]
        for x, row in zip(block, right, strict=True):
            for total, column in zip(sums, row, strict=True):
                if x is block[0]:
                    evaluator.multiply(x, column, total)
                else:
                    evaluator.multiply(x, column, product)
                    evaluator.add_inplace(total, product)
        out.append(sums)
    return out


class SealTwoPrimes:
    """SEAL with the primes that suit it best: 90 bits in two words. As many products as `Seal`: 4096 variants lie in
    the real and imaginary parts of 2048 slots, a sample a ciphertext."""

    def __init__(self, g: np.ndarray, c: np.ndarray) -> None:
        import tenseal.sealapi as api

        n, self.api = 4096, api
        parameters = api.EncryptionParameters(api.SCHEME_TYPE.CKKS)
        parameters.set_poly_modulus_degree(n)
        parameters.set_coeff_modulus(api.CoeffModulus.Create(n, [45, 45, 19]))
        self.context = api.SEALContext(parameters, True, api.SEC_LEVEL_TYPE.TC128)
        key = api.KeyGenerator(self.context).secret_key()
        self.encoder, self.decryptor = api.CKKSEncoder(self.context), api.Decryptor(self.context, key)
        encryptor = api.Encryptor(self.context, key)

        def encrypt(values) -> object:
            plain, out = api.Plaintext(), api.Ciphertext()
            self.encoder.encode(values, 2.0**30, plain)
            encryptor.encrypt_symmetric(plain, out)
            return out

        blocks = [g[v : v + n].astype(float) for v in range(0, len(g), n)]
        self.left = [[encrypt((column[: n // 2] + 1j * column[n // 2 :]).tolist()) for column in b.T] for b in blocks]
        self.right = [[encrypt(float(value)) for value in row] for row in c]

    def run(self) -> None:
        self.sums = multiply_and_add(self.api, self.context, self.left, self.right)

    def result(self) -> np.ndarray:
        def read(ciphertext) -> np.ndarray:
            plain = self.api.Plaintext()
            self.decryptor.decrypt(ciphertext, plain)
            slots = np.array(self.encoder.decode_complex(plain))
            return np.concatenate([slots.real, slots.imag])

        return np.concatenate([np.stack([read(s) for s in block], axis=1) for block in self.sums])


class TensealCkksTensor:
    """TenSEAL's CKKSTensor with its tutorial's parameters, variants in the batch: mm, or for one column mul and sum.

    (A batched tensor whose last axis is 1 does not decrypt to its input, so one column does not go through mm.)
    """

    def __init__(self, g: np.ndarray, c: np.ndarray) -> None:
        import tenseal as ts

        context = ts.context(ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40, 60])
        context.global_scale = 2.0**40
        variants, samples = g.shape
        self.columns = c.shape[1]

        def tensor(values: np.ndarray, shape: list[int]):
            return ts.ckks_tensor(context, ts.plain_tensor(values.astype(float).ravel().tolist(), shape), batch=True)

        if self.columns == 1:
            self.g = tensor(g, [variants, samples])
            self.c = tensor(np.broadcast_to(c[:, 0], (variants, samples)), [variants, samples])
        else:
            self.g = tensor(g, [variants, 1, samples])
            self.c = tensor(np.broadcast_to(c, (variants, *c.shape)), [variants, *c.shape])

    def run(self) -> None:
        self.sums = (self.g * self.c).sum(1) if self.columns == 1 else self.g.mm(self.c)

    def result(self) -> np.ndarray:
        return np.array(self.sums.decrypt().tolist()).reshape(-1, self.columns)


class OpenFhe:
    """OpenFHE in this interpreter or, where its wheel is for another one, in the interpreter that OPENFHE_PYTHON names.

    See `openfhe_peer`. threads: OpenMP's.
    """

    def __init__(self, g: np.ndarray, c: np.ndarray, threads: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "data.npz"
        np.savez(path, g=g, c=c)
        self.answer = path.with_name("sums.npy")
        self.process = subprocess.Popen(
            [openfhe_python() or "", str(Path(__file__).with_name("openfhe_peer.py")), str(path), str(self.answer)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        )  # fmt: skip
        self._expect("ready")

    def _expect(self, word: str) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line == word, f"OpenFHE's process said {line!r}"

    def run(self) -> None:
        assert self.process.stdin is not None
        print("run", file=self.process.stdin, flush=True)
        self._expect("done")

    def result(self) -> np.ndarray:
        assert self.process.stdin is not None
        print("result", file=self.process.stdin, flush=True)
        self._expect("done")
        out = np.load(self.answer, allow_pickle=False)
        self.process.stdin.close()
        self.process.wait(60)
        self.folder.cleanup()
        return out


def openfhe_python() -> str | None:
    """An interpreter that can import OpenFHE, if there is one."""
    for python in (sys.executable, os.environ.get("OPENFHE_PYTHON")):
        if python and not subprocess.run([python, "-c", "import openfhe"], capture_output=True).returncode:
            return python
    return None
