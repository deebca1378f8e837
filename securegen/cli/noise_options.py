"""Options of noise on phenotypes, of commands that read these."""

from __future__ import annotations

import click

noise_options = [
    click.option(
        "--dp-epsilon", type=float, metavar="E",
        help="Noise on every phenotype: ε of a person's value, of nothing else about them.",
    ),
    click.option("--dp-delta", type=float, metavar="D", help="δ of quantitative ones: Gaussian noise [none: Laplace]."),
    click.option(
        "--dp-bounds", metavar="LO,HI", help="Least and greatest value of quantitative ones, known without the data."
    ),
]  # fmt: skip
