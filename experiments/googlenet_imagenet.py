"""GoogLeNet on ImageNet (Szegedy et al. 2014). Arguments: the variants, and `naive` (figure 2a).

python launch.py train --config=experiments/googlenet_imagenet.py
Expected: 10.07 % top-5 error, one crop (table 3), and 7.89 %, 144 crops, of the averaged weights:
        cnn-archs evaluate --workdir=runs/googlenet_imagenet
        cnn-archs evaluate --workdir=runs/googlenet_imagenet --protocol=grid_144
    6,998,552 parameters (section 1 says 12 times fewer than AlexNet's 60 million) and 1,582,671,872
    multiply-adds; 13,378,280 parameters with the auxiliary classifiers:
        cnn-archs summarize --config=googlenet_imagenet
        cnn-archs summarize --config=googlenet_imagenet --train
The paper does not give these, which are the Caffe release's: batch 32, rate 0.01, decay 2e-4 of the
weights, biases at twice the rate, 250 epochs. Nor these, which are ours: the decay of the average,
mirroring, pixels of 0 to 255, the mean color of central crops, areas drawn uniformly and aspect
ratios uniformly in their logarithm.
Deviations: SGD is synchronous. "Photometric distortions" are changes of brightness, contrast and
    saturation by up to 40 %, as in fb.resnet.torch, without Howard's lighting noise. Images are
    resized by bilinear interpolation only, where the paper came to draw one of four methods.
"""

from experiments import base

ARGUMENTS = ("", "naive", "bn", "torchvision", "separable")


def get_config(variant=""):
    if variant == "naive":
        model = dict(name="googlenet", module="naive")
    else:
        model = dict(name=f"googlenet_{variant}" if variant else "googlenet")
    return base.config(
        model=model,
        data=dict(
            name="imagenet2012",
            image_shape=(224, 224, 3),                       # section 5
            batch_size=32,
            mean="channel",                                  # section 5
            pixel_range=(0.0, 255.0),
        ),
        crop=dict(name="inception", area=(0.08, 1.0), aspect=(3 / 4, 4 / 3)),   # section 6
        mirror=True,
        color=dict(name="jitter"),                          # section 6
        auxiliary=0.3,                                       # section 5
        optimizer=dict(momentum=0.9, weight_decay=2e-4, decayed="weights", bias_rate=2.0),
        schedule=dict(                                       # section 6: 4 % every 8 epochs
            name="exponential", learning_rate=0.01, factor=0.96, every=8.0, staircase=True,
        ),
        average=dict(name="ema", decay=0.9999),              # section 6: Polyak averaging
        epochs=250.0,
        eval_batch_size=250,
    )  # fmt: skip
