"""Residual and plain nets on CIFAR-10 (He et al. 2015, section 4.2). Argument: 20, plain56, ...

python launch.py train --config=experiments/resnet_cifar10.py:20
Expected: 8.75 % test error for 20, 7.51 for 32, 7.17 for 44, 6.97 for 56, 6.61 +- 0.16 for 110 and
    7.93 for 1202, from the unchanged image (table 6); 5.46 for 164_v2 and 4.92 for 1001_v2 (2016,
    table 4):
        cnn-archs evaluate --workdir=runs/resnet_cifar10_20
    269,722 parameters for 20 (table 6: 0.27 million):
        cnn-archs summarize --config=resnet_cifar10:20
Any other depth is there too: `8`, `plain14`, `26_v2` (6n + 2 layers), `29_bottleneck_v2` (9n + 2).
`20_quick` trains 20 for half an hour on two CPU cores: 25.9 % test error (results/cifar10).
Batch statistics are those of 64 images, as on each of the paper's two GPUs. All training images are
trained on; the paper chose its schedule on 45,000 of them, tested on the other 5,000
(`--config.data.holdout=5000`).
Deviations: the paper warms up 110; here 1202 and plain nets of these depths warm up too, until the
    error of the last 100 steps is low enough. That window is ours. The border around an image has
    the mean's value, and all parameters decay; the paper specifies neither.
"""

from experiments import base

DEPTHS = (20, 32, 44, 56, 110, 1202)
ARGUMENT_FORMS = {
    "N, plainN and N_v2 of any depth N = 6n + 2": r"(plain)?\d+|\d+_v2",
    "N_bottleneck and N_bottleneck_v2 with N = 9n + 2": r"\d+_bottleneck(_v2)?",
}
ARGUMENTS = (
    *(f"{d}" for d in DEPTHS),
    *(f"plain{d}" for d in DEPTHS),
    "20_b",
    "20_c",
    "56_b",
    "56_c",
    "20_quick",
    "20_v2",
    "32_v2",
    "44_v2",
    "56_v2",
    "110_v2",
    "164_v2",
    "1001_v2",
)


def get_config(variant="20"):
    depth, _, form = variant.removeprefix("plain").partition("_")
    name = variant.removesuffix("_quick")
    if variant not in ARGUMENTS:
        layers = 9 if "bottleneck" in form else 6
        lower = max(int(depth) - 2, layers) // layers * layers + 2
        if int(depth) != lower:
            raise ValueError(f"no net has {depth} layers; {lower} and {lower + layers} are near")
        if depth in ("50", "152", "200"):  # those of ImageNet have these names
            name = name.replace(depth, f"{depth}_cifar")
    factors, boundaries = [1.0, 0.1, 0.01], [32_000.0, 48_000.0]  # section 4.2
    if form.endswith("v2"):  # 2016, appendix: 0.01 for the first 400 steps, at every depth
        factors, boundaries = [0.1, *factors], [400.0, *boundaries]
    quick = form == "quick"
    warms_up = int(depth) >= 110 and not form.endswith("v2")
    return base.config(
        model=dict(
            name=name if name.startswith("plain") else f"resnet{name}",
            bn_group=64,
        ),
        data=dict(
            name="cifar10",
            batch_size=128,                                           # section 4.2
            mean="pixel",                                             # section 4.2
        ),
        crop=dict(name="pad", pixels=4),                              # section 4.2
        mirror=True,                                                  # section 4.2
        optimizer=dict(momentum=0.9, weight_decay=1e-4),              # section 4.2
        schedule=dict(
            name="piecewise",
            learning_rate=0.1,                                        # section 4.2
            factors=(1.0, 0.1) if quick else tuple(factors),
            boundaries=(2.0,) if quick else tuple(boundaries),
            unit="epoch" if quick else "step",
        ),
        # section 4.2: "0.01 to warm up the training until the training error is below 80%"
        warmup=dict(name="error" if warms_up else "none"),
        **(dict(epochs=2.5) if quick else dict(steps=64_000)),        # section 4.2
    )  # fmt: skip
