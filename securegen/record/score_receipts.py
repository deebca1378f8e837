"""Receipts of scores, one function a scenario: who held what, who learned what, what had to be trusted, what was released."""

from __future__ import annotations

from collections.abc import Sequence

from securegen.record.receipt import Party, Receipt

SMALL_MODELS = "scores of few variants give the genotypes away to whoever knows the weights"
CAPPED = "each score is an equation in the weights: {} replies to one client is the cap of this model"
_RLWE = "ring learning with errors at 128 bits"
_ITS_SCORES = "its scores, which variants and how many replies the model has; no weight, no direction"


def _sent(counts: bool) -> str:
    """What a request told about the cohort beside its variants."""
    return ", their allele counts" if counts else ""


def plain_scores(table: str) -> Receipt:
    """Genotypes and weights in the clear at one owner."""
    owner = Party("owner", "genotypes and weights", "everything")
    return Receipt("scores in the clear", (owner,), (), (table,), (SMALL_MODELS,))


def public_model(table: str, encryptor: str) -> Receipt:
    """CKKS: the owner holds the key, a server has the weights and computes."""
    return Receipt(
        "outsourced scores, CKKS, public model",
        (
            Party("owner", "the secret key, genotypes and weights", "the scores, after verification"),
            Party("server", "ciphertexts and weights",
                  "numbers of samples and variants, which blocks have missing calls; no genotype, no score"),
        ),
        (f"{_RLWE}; nothing of the server but availability", f"encryption by {encryptor}"), (table,), (SMALL_MODELS,),
    )  # fmt: skip


def private_model(table: str, encryptor: str, *, cap: int, counts: bool) -> Receipt:
    """CKKS: the model's owner computes on the genotype owner's ciphertexts. counts: the request held allele counts."""
    return Receipt(
        "scores, CKKS, private model",
        (
            Party("genotype owner", "the secret key and genotypes", _ITS_SCORES),
            Party("model owner", "weights and ciphertexts",
                  f"the cohort's variants{_sent(counts)}, which blocks have missing calls; no genotype, no score"),
        ),
        (_RLWE, "the model owner computes the score it promised: the genotype owner cannot verify it, and sends nothing "
         "decrypted back", f"encryption by {encryptor}"),
        (table,), (SMALL_MODELS, CAPPED.format(cap)),
    )  # fmt: skip


def encrypted_model(table: str, encryptor: str, *, cap: int, counts: bool) -> Receipt:
    """CKKS: an evaluator multiplies ciphertexts of both owners."""
    return Receipt(
        "scores, CKKS, encrypted model",
        (
            Party("genotype owner", "the secret key and genotypes", _ITS_SCORES),
            Party("model owner", "weights", f"the cohort's variants{_sent(counts)}; no genotype, no score"),
            Party("evaluator", "ciphertexts of both",
                  "numbers of samples and variants, bounds, which blocks have missing calls"),
        ),
        (_RLWE, "evaluator and genotype owner do not collude: together they hold the encrypted weights and the key",
         "the evaluator computes the product it promised: nobody can verify it", f"encryption by {encryptor}"),
        (table,), (SMALL_MODELS, CAPPED.format(cap)),
    )  # fmt: skip


def vendor_key(table: str, encryptor: str, *, cap: int, counts: bool) -> Receipt:
    """CKKS: a vendor's encrypted model on the hospital's genotypes."""
    return Receipt(
        "scores, CKKS, vendor's key",
        (
            Party("hospital", "genotypes and the encrypted model", _ITS_SCORES),
            Party("vendor", "weights and keys",
                  f"the cohort's variants{_sent(counts)}, the number of people; no genotype, no score"),
        ),
        (_RLWE, "the vendor answers with the rounded coefficient: the hospital cannot verify it",
         f"encryption by {encryptor}"),
        (table,), (SMALL_MODELS, CAPPED.format(cap)),
    )  # fmt: skip


def shared_scores(tables: Sequence[str]) -> Receipt:
    """Secret sharing: genotypes at one party, weights at another, a dealer."""
    return Receipt(
        "scores with private weights, secret sharing",
        (
            Party("genotype owner", "genotypes", "the scores; number of weights that scored; nothing of which ones"),
            Party("model owner", "weights", "samples, variants, their allele and genotype counts; no genotype, no score"),
            Party("dealer", "keys of masks", "sizes"),
        ),
        ("semi-honest parties; the dealer colludes with nobody",), tuple(tables),
        ("every exact score is one linear equation in the weights: the model owner counts replies",),
    )  # fmt: skip
