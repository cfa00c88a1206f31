"""Residual nets and their pre-activation form by depth on CIFAR-10 (He et al. 2015 and 2016).

python launch.py sweep --config=experiments/sweeps/depth.py --workdir=DIR
`quick` has depths 20 and 56, reduced as in experiments/sweeps/degradation.py. The papers print
8.75, 7.51, 7.17, 6.97 and 6.61 % test error for the first form at depths 20, 32, 44, 56 and 110,
and 6.37 % for the second at 110. Their deeper nets (1,202 and 1,001 layers) are not in this sweep.
"""

from experiments.sweeps import degradation

ARGUMENTS = ("", "quick")
FORMS = {"residual": "", "preactivation": "_v2"}


def get_sweep(variant=""):
    quick = variant == "quick"
    depths = (20, 56) if quick else degradation.DEPTHS
    # 2016, appendix: all begin at 0.01, here for the same share of the steps, 10 of 1,500
    warm = ["schedule.boundaries=(10.0,750.0,1125.0)"] if quick else []
    cells = {
        f"{form}{depth}": [
            f"resnet_cifar10:{depth}{suffix}",
            *(degradation.QUICK if quick else []),
            *(warm if suffix else []),
        ]
        for form, suffix in FORMS.items()
        for depth in depths
    }
    pairs = [(form, *two) for form in FORMS for two in zip(depths, depths[1:], strict=False)]
    return dict(
        title="Residual and pre-activation nets by depth",
        seeds=2 if quick else 5,
        cells=cells,
        comparisons=[
            *(
                dict(
                    says=f"{form} {high} has a lower error than {form} {low}",
                    higher=f"{form}{low}", lower=f"{form}{high}", metric="test.top1_error",
                )
                for form, low, high in pairs
            ),
            *(
                dict(
                    says=f"at depth {d} the pre-activation form has a lower error",
                    higher=f"residual{d}", lower=f"preactivation{d}", metric="test.top1_error",
                )
                for d in depths
            ),
        ],
        x="depth",
        groups={form: [f"{form}{d}" for d in depths] for form in FORMS},
    )  # fmt: skip
