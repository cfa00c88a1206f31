"""GoogLeNet on ImageNet (Szegedy et al. 2014). Arguments: the variants, and `naive` (figure 2a).

python launch.py train --config=experiments/googlenet_imagenet.py
Expected: 10.07 % top-5 error, one crop (table 3); 6,998,552 parameters (12 times fewer than
    AlexNet's 60 million, section 1, is said of it), 13,378,280 with the auxiliary classifiers, and
    1,582,671,872 multiply-adds.
Not in the paper, and as in the Caffe release: batch 32, rate 0.01, weight decay 2e-4 of weights,
biases at twice the rate, 250 epochs. Ours: the decay of the average, mirroring, pixels of 0 to 255,
the mean color that of central crops; areas uniform, aspect ratios uniform by their logarithm.
Deviations: SGD is synchronous; "photometric distortions" are brightness, contrast and saturation
    by up to 40 %, fb.resnet.torch's, without Howard's noise of the lighting; one interpolation,
    bilinear, where the paper came to draw one of four.
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
