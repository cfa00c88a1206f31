"""VGG's columns on CIFAR-10 (Simonyan & Zisserman 2014, table 1 and section 4.1).

python launch.py sweep --config=experiments/sweeps/vgg_columns.py --workdir=DIR
The forms for 32x32 images of A, A-LRN, B, B with 5x5 windows, C, D and E, and of A, B, D and E with
batch normalization, which is not in the paper. `quick` takes minutes on two CPU cores.
"""

ARGUMENTS = ("", "quick")
PRINTED = ("A", "A-LRN", "B", "B-5x5", "C", "D", "E")
NORMALIZED = ("A_bn", "B_bn", "D_bn", "E_bn")
QUICK = [
    "model.width=0.125",
    "model.dropout=0.0",
    "data.examples=5000",
    "data.batch_size=32",
    "steps=1000",
    "schedule.boundaries=(3.2,4.8,5.6)",
    "log_every=50",
    "eval_every=1.6",
]
CLAIMS = [  # cell with the higher error, cell with the lower, the claim
    ("A", "B", "B has a lower error than A"),
    ("B", "C", "C has a lower error than B"),
    ("C", "D", "D, with 3x3 windows, has a lower error than C, with 1x1"),
    ("B-5x5", "B", "two 3x3 layers have a lower error than one of 5x5"),
    ("A", "D", "D has a lower error than A"),
    ("A-LRN", "A", "response normalization does not lower the error of A: it is higher"),
    ("A", "A_bn", "batch normalization lowers the error of A"),
    ("D", "D_bn", "batch normalization lowers the error of D"),
]


def get_sweep(variant=""):
    quick = variant == "quick"
    printed = ("A", "A-LRN", "D") if quick else PRINTED
    normalized = ("A_bn", "D_bn") if quick else NORMALIZED
    columns = (*printed, *normalized)
    return dict(
        title="The columns of VGG's table 1",
        seeds=2 if quick else 3,
        cells={c: [f"vgg_cifar10:{c}", *(QUICK if quick else [])] for c in columns},
        comparisons=[
            dict(says=says, higher=higher, lower=lower, metric="test.top1_error")
            for higher, lower, says in CLAIMS
            if {higher, lower} <= {*columns}
        ],
        x="macs",
        groups={"as printed": list(printed), "batch normalization": list(normalized)},
    )
