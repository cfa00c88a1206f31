"""Plain and residual nets by depth on CIFAR-10 (He et al. 2015, section 4.2, figure 6).

python launch.py sweep --config=experiments/sweeps/degradation.py --workdir=DIR
Arguments: `first`, depths 20 and 56 with one seed; `quarter`, depths 20 and 56 for a quarter of the
paper's length; `selection`, training on 45,000 images and testing on the other 5,000, as the paper
chose its schedule; `shortcuts`, options A, B and C; `quick`, depths 20 and 44 reduced to a quarter
of an hour on two CPU cores. In the same DIR, the full grid adds to the runs of `first`.
"""

ARGUMENTS = ("", "first", "quarter", "selection", "shortcuts", "quick")
DEPTHS = (20, 32, 44, 56, 110)
FORMS = ("plain", "residual")

DIAGNOSED = ["diagnose_every=10"]  # figure 7, and section 4.1: gradients do not vanish

# `quarter` changes the length only. As in the paper, the rate falls after a half and three quarters
# of the steps. An epoch has 390.625 steps, so layers are diagnosed every 1,000 steps, and one
# checkpoint per epoch is one every ten minutes if a step takes 1.5 s.
QUARTER = [
    "steps=16000",
    "schedule.boundaries=(8000.0,12000.0)",
    "diagnose_every=2.56",
    "eval_every=1.0",
    "checkpoint_every=1.0",
]

# `quick` changes widths, images and data, and then the steps. As in the paper, the rate falls after
# a half and three quarters of them.
QUICK = [
    "model.width=0.5",
    "model.bn_group=0",
    "data.downsample=2",
    "crop.pixels=2",
    "data.examples=10000",
    "data.batch_size=32",
    "steps=1500",
    "schedule.boundaries=(750.0,1125.0)",
    "log_every=50",
    "eval_every=1.6",
    "diagnose_every=1.6",
]


def get_sweep(variant=""):
    if variant == "shortcuts":
        return shortcuts()
    depths = {"first": (20, 56), "quarter": (20, 56), "quick": (20, 44)}.get(variant, DEPTHS)
    changed = {"selection": ["data.holdout=5000"], "quarter": QUARTER, "quick": QUICK}
    cells = {
        f"{form}{depth}": [f"resnet_cifar10:{prefix}{depth}", *changed.get(variant, DIAGNOSED)]
        for form, prefix in zip(FORMS, ("plain", ""), strict=True)
        for depth in depths
    }
    error = "val.top1_error" if variant == "selection" else "test.top1_error"
    return dict(
        title="Plain and residual nets",
        seeds={"first": 1, "quarter": 3, "quick": 2}.get(variant, 5),
        cells=cells,
        comparisons=[*trends(depths, error), *differences(depths, error)],
        x="depth",
        groups={form: [f"{form}{d}" for d in depths] for form in FORMS},
        columns=[error, "train_eval.top1_error"],
    )


def trends(depths, error):
    """Return comparisons: deeper plain nets train worse, deeper residual nets are better."""
    found = []
    for low, high in zip(depths, depths[1:], strict=False):
        plain, residual = ([f"{form}{d}" for d in (low, high)] for form in FORMS)
        found += [
            dict(
                says=f"plain-{high} trains worse than plain-{low}",
                higher=plain[1], lower=plain[0], metric="train.top1_error",
            ),
            dict(
                says=f"ResNet-{high} trains better than ResNet-{low}",
                higher=residual[0], lower=residual[1], metric="train.top1_error",
            ),
            dict(
                says=f"ResNet-{high} has a lower error than ResNet-{low}",
                higher=residual[0], lower=residual[1], metric=error,
            ),
        ]  # fmt: skip
    return found


def differences(depths, error):
    """Return comparisons: at each depth the residual net has a lower error than the plain net."""
    return [
        dict(
            says=f"ResNet-{d} has a lower error than plain-{d}",
            higher=f"plain{d}", lower=f"residual{d}", metric=error,
        )
        for d in depths
    ]  # fmt: skip


def shortcuts():
    """Return the sweep over the shortcut options of section 4.1, compared there for ResNet-34."""
    cells = {
        f"{depth}_{option}": [f"resnet_cifar10:{depth}{suffix}"]
        for depth in (20, 56)
        for option, suffix in (("A", ""), ("B", "_b"), ("C", "_c"))
    }
    return dict(
        title="Shortcuts A, B and C",
        seeds=5,
        cells=cells,
        comparisons=[
            dict(
                says=f"at depth {d}, {better} has a lower error than {worse}",
                higher=f"{d}_{worse}", lower=f"{d}_{better}", metric="test.top1_error",
            )
            for d in (20, 56)
            for worse, better in (("A", "B"), ("B", "C"))
        ],
        x="params",
        groups={f"depth {d}": [f"{d}_{option}" for option in "ABC"] for d in (20, 56)},
    )  # fmt: skip
