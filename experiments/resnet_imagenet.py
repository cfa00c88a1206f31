"""Residual and plain nets on ImageNet (He et al. 2015, 2016). Argument: 50, 34_a, plain34, ...

python launch.py train --config=experiments/resnet_imagenet.py:50
Expected: 22.85 % top-1 and 6.71 % top-5 error for 50, 25.03 and 7.76 for 34_a, 28.54 and 10.02 for
    plain34, ten crops of the whole resized image (tables 2 and 3):
        cnn-archs evaluate --workdir=runs/resnet_imagenet_50 --protocol=ten_crop_whole
    20.74 and 5.25 % for 50, at five scales (table 4):
        cnn-archs evaluate --workdir=runs/resnet_imagenet_50 --protocol=multi_scale
    21.1 and 5.5 % for 152_v2, 20.7 and 5.3 for 200_v2, one view of 320x320 (2016, table 5):
        cnn-archs evaluate --workdir=runs/resnet_imagenet_200_v2 --protocol=single --size=320
    Table 1's 1.8, 3.6, 3.8, 7.6 and 11.3 billion multiply-adds for 18, 34, 50, 101 and 152:
        cnn-archs summarize --config=resnet_imagenet:50
`_v1_5` has the recipe that is usual for it: fb.resnet.torch's, without its PCA noise and its
division by the standard deviation, and with He's fan-in weights; 90 epochs, the crops of
GoogLeNet's paper, Nesterov's momentum. `_v2` is the second paper, in which the rate falls at epochs
30 and 60. The first pool of the first paper's nets has no padding, and its last window hangs over
the edge, as in the authors' prototxt; that of `_v1_5` and `_v2` is padded, as in fb.resnet.torch.
Deviations: a plateau is five evaluations, one per epoch, without a lower error on 10,000 images
    held out of train at random. At most three drops, and 90 epochs for `_v2`, are ours. Batch
    statistics are those of 32 images, as on each of the papers' eight GPUs. The mean image is that
    of central 224x224 crops at S = 256 and is subtracted from every crop; the principal components
    are those of fb.resnet.torch. All parameters decay, as there; pixels are 0 to 1, whose scale
    batch normalization makes irrelevant.
"""

from experiments import base

ARGUMENTS = (
    "18",
    "34",
    "50",
    "101",
    "152",
    "18_a",
    "34_a",
    "34_c",
    "plain18",
    "plain34",
    "50_v1_5",
    "101_v1_5",
    "152_v1_5",
    "50_v2",
    "101_v2",
    "152_v2",
    "200_v2",
)


def get_config(variant="50"):
    printed = not variant.endswith("_v1_5")
    first_paper = not variant.endswith(("_v1_5", "_v2"))
    return base.config(
        model=dict(
            name=variant if variant.startswith("plain") else f"resnet{variant}",
            bn_group=32,
            pool1="overhanging" if first_paper else "padded",    # the released prototxt
        ),
        data=dict(
            name="imagenet2012",
            image_shape=(224, 224, 3),                       # section 3.4
            batch_size=256,                                  # section 3.4
            holdout=10_000 if first_paper else 0,
            mean="pixel" if printed else "channel",          # section 3.4
        ),
        crop=(
            dict(name="shorter_side", smallest=256, largest=480)    # section 3.4
            if printed else dict(name="inception")
        ),
        mirror=True,                                         # section 3.4
        color=dict(name="pca" if printed else "jitter"),    # section 3.4: as AlexNet's
        optimizer=(
            dict(momentum=0.9, weight_decay=1e-4)            # section 3.4
            if printed else
            dict(name="torch_momentum", momentum=0.9, weight_decay=1e-4, nesterov=True)
        ),
        schedule=(
            dict(name="plateau", learning_rate=0.1, factor=0.1, drops=3)    # section 3.4
            if first_paper else                              # 2016, appendix
            dict(
                name="piecewise", learning_rate=0.1, factors=(1.0, 0.1, 0.01),
                boundaries=(30.0, 60.0),
            )
        ),
        steps=600_000 if first_paper else 0,                 # section 3.4
        epochs=0.0 if first_paper else 90.0,
        eval_batch_size=250,
        test_scales=(224, 256, 384, 480, 640),               # section 3.4
    )  # fmt: skip
