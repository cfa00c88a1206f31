"""The lecture notes' comparisons of networks, on MNIST and CIFAR-10.

python launch.py sweep --config=experiments/sweeps/notes_claims.py --workdir=DIR
They are LeNet-5 against AlexNet's form for 32x32 images, on MNIST; the epochs that VGG and AlexNet
take to a given error; batch normalization against response normalization against none, in VGG's
column A; and the error of each of GoogLeNet's classifiers. `quick` takes minutes on two CPU cores.
"""

from experiments.sweeps import inception_width

ARGUMENTS = ("", "quick")
# Digits are neither mirrored nor cropped; two rows of 0 on each side make them 32x32.
ON_MNIST = [
    "data.name=mnist",
    "data.pad=2",
    "data.mean=none",
    "data.pixel_range=(0.0,1.0)",
    "crop.name=none",
    "mirror=false",
    "epochs=20",
    "schedule.boundaries=(14.0,18.0,19.0)",
]
QUICK = {
    "mnist": ["data.examples=5000", "epochs=6", "log_every=10", "eval_every=3.0"],
    "lenet5": ["schedule.boundaries=(4.2,5.4)"],
    "digits": ["model.width=0.25", "model.groups=1", "schedule.boundaries=(4.2,5.4,5.7)"],
    "cifar10": ["data.examples=5000", "data.batch_size=32", "log_every=20", "eval_every=0.8"],
    "width": ["model.width=0.125", "model.dropout=0.0"],
    "length": ["steps=1000", "schedule.boundaries=(4.0,5.0,6.0)"],
    "one_tower": ["model.groups=1"],
}


def get_sweep(variant=""):
    quick = variant == "quick"

    def reduced(*parts):
        return [key for part in parts for key in QUICK[part]] if quick else []

    short = reduced("cifar10", "width", "length")
    return dict(
        title="What the notes say of the networks beside each other",
        seeds=1 if quick else 3,
        cells={
            "mnist_lenet5": ["lenet5_mnist", *reduced("mnist", "lenet5")],
            "mnist_alexnet": ["alexnet_cifar10", *ON_MNIST, *reduced("mnist", "digits")],
            "alexnet": ["alexnet_cifar10", *short, *reduced("one_tower")],
            "vgg_A": ["vgg_cifar10:A", *short],
            "vgg_A_lrn": ["vgg_cifar10:A-LRN", *short],
            "vgg_A_bn": ["vgg_cifar10:A_bn", *short],
            "vgg_D": ["vgg_cifar10:D", *short],
            "googlenet": ["googlenet_cifar10", *(inception_width.QUICK if quick else [])],
        },
        comparisons=[
            comparison("AlexNet has a lower error than LeNet-5", "mnist_lenet5", "mnist_alexnet"),
            comparison("VGG has a lower error than AlexNet", "alexnet", "vgg_D"),
            comparison("batch normalization lowers the error", "vgg_A", "vgg_A_bn"),
            comparison(
                "batch normalization lowers the error more than LRN does", "vgg_A_lrn", "vgg_A_bn"
            ),
        ],
        x="",
        groups={
            "epochs to an error": ["alexnet", "vgg_A", "vgg_D"],
            "normalization": ["vgg_A", "vgg_A_lrn", "vgg_A_bn"],
        },
        columns=["test.top1_error", "test.aux_4a_error", "test.aux_4d_error"],
        reach=[
            dict(metric="train.top1_error", level=0.6 if quick else 0.25),
            dict(metric="test.top1_error", level=0.6 if quick else 0.2),
        ],
    )


def comparison(says, higher, lower):
    return dict(says=says, higher=higher, lower=lower, metric="test.top1_error")
