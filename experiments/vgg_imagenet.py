"""VGG on ImageNet (Simonyan & Zisserman 2014). Argument: the column of table 1, and how to begin.

python launch.py train --config=experiments/vgg_imagenet.py:D
Expected: 27.0 % top-1 and 8.8 % top-5 error for D, 26.8 and 8.7 for D_384, 25.6 and 8.1 for
    D_jitter, dense, at one scale (table 3):
        cnn-archs evaluate --workdir=runs/vgg_imagenet_D --protocol=dense
    138,357,544 parameters and 15,470,264,320 multiply-adds:
        cnn-archs summarize --config=vgg_imagenet:D
D is the net at S = 256 with Glorot's weights, the paper's later advice (section 3.1), and so is A:
the printed N(0, 10^-2) (`--config.model.initializer=normal`) is too large to train from. D_from_A
copies the layers that section 3.1 names from runs/vgg_imagenet_A. D_384 starts from
runs/vgg_imagenet_D, and D_jitter, with S from 256 to 512, from runs/vgg_imagenet_D_384
(`--config.warm_start.workdir` names another run).
Deviations: a plateau is five evaluations, one per epoch, without a lower error on 10,000 images
    held out of train at random. The paper says only that D_jitter is fine-tuned: it has D_384's
    rate, and both have all steps and drops. Layers that D_from_A does not copy have Glorot's
    weights. Weights decay, not biases; the mean color is that of central crops; the principal
    components are those of fb.resnet.torch, for pixels in [0, 1]. `_bn` is ours.
"""

from experiments import base

DEEPER = ("B", "C", "D", "E")
ARGUMENTS = (
    "A",
    "A-LRN",
    "B",
    "B-5x5",
    "C",
    "D",
    "E",
    "A_bn",
    "B_bn",
    "D_bn",
    "E_bn",
    *(f"{c}_from_A" for c in DEEPER),
    *(f"{c}_{s}" for c in ("C", "D", "E") for s in ("384", "jitter")),
)
FROM_A = "conv1_1,conv2_1,conv3_1,conv3_2,fc6,fc7,fc8"  # the first four and the last three
START = {"": "", "from_A": "A", "384": "{}", "jitter": "{}_384"}
SCALES = {"384": (384, 384, 384), "jitter": (256, 512, 384)}  # S from, to; Q in evaluation


def get_config(column="D"):
    column, _, how = column.partition("_")
    norm, how = ("_bn", "") if how == "bn" else ("", how)
    smallest, largest, evaluate = SCALES.get(how, (256, 256, 256))
    start = START[how].format(column)
    return base.config(
        model=dict(
            name=f"vgg_{column}{norm}".lower().replace("-", "_"),
            initializer="glorot",
        ),
        data=dict(
            name="imagenet2012",
            image_shape=(224, 224, 3),                       # section 2.1
            batch_size=256,                                  # section 3.1
            holdout=10_000,
            mean="channel",                                  # section 2.1
            pixel_range=(0.0, 255.0),
        ),
        crop=dict(
            name="shorter_side", smallest=smallest, largest=largest, evaluate=evaluate,
        ),                                                   # section 3.1
        mirror=True,                                         # section 3.1
        color=dict(name="pca", sigma=0.1),                  # section 3.1: as AlexNet's
        optimizer=dict(momentum=0.9, weight_decay=5e-4, decayed="weights"),   # section 3.1
        schedule=dict(
            name="plateau", learning_rate=1e-3 if how in SCALES else 1e-2, factor=0.1, drops=3,
        ),                                                   # section 3.1
        warm_start=dict(
            workdir=f"runs/vgg_imagenet_{start}" if start else "",
            layers=FROM_A if how == "from_A" else "",
        ),
        steps=370_000,                                       # section 3.1: 74 epochs
        eval_batch_size=250,
    )  # fmt: skip
