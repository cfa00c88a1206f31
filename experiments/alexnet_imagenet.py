"""AlexNet on ImageNet (Krizhevsky et al. 2012). Arguments: the variants, and `notes`.

python launch.py train --config=experiments/alexnet_imagenet.py
Expected: 40.7 % top-1 and 18.2 % top-5 error, the mean of ten crops (table 2, 1 CNN):
        cnn-archs evaluate --workdir=runs/alexnet_imagenet --protocol=ten_crop
    60,965,224 parameters (the abstract: 60 million) and 724,406,816 multiply-adds:
        cnn-archs summarize --config=alexnet_imagenet
Deviations: the authors divided the rate by hand when the validation error stopped improving. Here
    it is divided after five evaluations, one per epoch, without a lower error on 10,000 images held
    out of train at random. Crops are 227x227, so an image has 30 x 30 x 2 of them, not 2048. The
    principal components are those printed in fb.resnet.torch, for pixels in [0, 1], whatever the
    dataset. Weights decay and biases do not, because the paper's equation says "w".
Response normalization is computed in three ways: (2 + 1e-4 s)^0.75 with the sum s of five squares,
as printed; `cuda_convnet`, the author's released code, divides 1e-4 by five; `caffe`, with which
AlexNet's published weights were made, also has 1 in place of 2.
`owt` is torchvision's net (256 maps in conv4, no LRN, torch's initialization, no logistic units)
with the rates of "One weird trick" (Krizhevsky 2014), as released in cuda-convnet2: those of
weights fall by 250^(1/3) after each quarter; biases begin with twice the rate, which falls by 10
after half of the epochs. The release has LRN and N(0, 0.01^2), and N(0, 0.03^2) in conv3 to conv5.
`notes` has the weight decay of the lecture notes.
"""

from experiments import base

ARGUMENTS = ("", "one_tower", "one_gpu", "owt", "notes", "cuda_convnet", "caffe")
LRN = {
    "cuda_convnet": dict(lrn_alpha_over_n=True, lrn_k=2.0),
    "caffe": dict(lrn_alpha_over_n=True, lrn_k=1.0),
}


def get_config(variant=""):
    side = 224 if variant == "owt" else 227  # the printed 224 cannot give conv1's 55x55
    schedule = dict(name="plateau", learning_rate=0.01, factor=0.1, drops=3)  # section 5
    if variant == "owt":
        factors = tuple(250.0 ** (-i / 3) for i in range(4))
        schedule = dict(
            name="piecewise",
            learning_rate=0.01,
            factors=factors,
            boundaries=(22.5, 45.0, 67.5),
            bias_factors=(1.0, 1.0, 0.1, 0.1),  # epsB, twice the rate: `bias_rate`
        )
    return base.config(
        model=dict(
            name=f"alexnet_{variant}" if variant in ("one_tower", "one_gpu", "owt") else "alexnet",
            **LRN.get(variant, {}),
        ),
        data=dict(
            name="imagenet2012",
            image_shape=(side, side, 3),
            batch_size=128,                                  # section 5
            holdout=0 if variant == "owt" else 10_000,
            mean="pixel",                                    # section 2
            pixel_range=(0.0, 255.0),                        # section 2: raw, centered
        ),
        crop=dict(name="square", side=256),                  # sections 2 and 4.1
        mirror=True,                                         # section 4.1
        color=dict(name="pca", sigma=0.1),                  # section 4.1
        optimizer=dict(
            momentum=0.9,                                    # section 5
            weight_decay=5e-5 if variant == "notes" else 5e-4,
            decayed="weights",
            bias_rate=2.0 if variant == "owt" else 1.0,
        ),
        schedule=schedule,
        epochs=90.0,                                         # section 5: roughly
        eval_batch_size=250,
    )  # fmt: skip
