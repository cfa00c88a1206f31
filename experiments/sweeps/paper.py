"""Every training whose result the statements of one paper are about, three networks each.

python launch.py sweep --config=experiments/sweeps/paper.py:resnet --workdir=DIR
The argument is a paper of experiments/claims.toml, where the trainings stand. `cnn-archs claims
--missing` lists the cells that are still to be trained, and what they cost; most are for
accelerators, and those on ImageNet need its images. The result of CELL is DIR/CELL/result.json.
"""

import re
import tomllib
from pathlib import Path

CLAIMS = tomllib.loads((Path(__file__).parents[1] / "claims.toml").read_text("utf-8"))
ARGUMENTS = tuple(CLAIMS["papers"])


def get_sweep(paper):
    stated = [claim for claim in CLAIMS["claim"] if claim["paper"] == paper]
    sources = [claim.get(role, {}) for claim in stated for role in ("ours", "higher", "lower")]
    trained = [source["experiment"] for source in sources if "experiment" in source]
    return dict(
        title=f"The trainings of {CLAIMS['papers'][paper]}",
        seeds=3,
        cells=dict(map(cell, trained)),
        comparisons=[
            dict(
                says=claim["says"],
                higher=cell(claim["higher"]["experiment"])[0],
                lower=cell(claim["lower"]["experiment"])[0],
                metric=claim["metric"],
            )
            for claim in stated
            if claim["value"] == "higher"
        ],
        x="",
    )


def cell(experiment):
    """Return (name, [experiment, key=value, ...]) of an experiment with its flags."""
    name, *flags = experiment.split()
    words = [name, *(flag.removeprefix("--config.") for flag in flags)]
    return re.sub(r"[^\w.-]+", "_", "_".join(words)).strip("_"), words
