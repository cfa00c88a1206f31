"""ResNet-18 on ten classes of ImageNet at 64x64: photographs, in half an hour on two CPU cores.

Paper: He et al. 2015, table 1. Data: Imagenette (Howard 2019) or a folder. The recipe is ours.
python launch.py train --config=experiments/resnet_imagenette.py
With a folder of train/<class>/ and val/<class>/ of ten classes, add
    --config.data.name=image_folder --config.data.data_dir=FOLDER
Expected: the paper has no figure for this. Ours: 40.75 % test error after training on 1,200
    photographs, from one view of each of another 400 (results/photographs):
        cnn-archs evaluate --workdir=runs/resnet_imagenette
    11,181,642 parameters:
        cnn-archs summarize --config=resnet_imagenette
Deviations: images are 64x64, so the last maps are 2x2; batch statistics are those of the whole
batch.
"""

from experiments import base


def get_config():
    return base.config(
        model=dict(name="resnet18", num_classes=10),
        data=dict(
            name="imagenette",
            image_shape=(64, 64, 3),
            batch_size=64,
            mean="channel",
        ),
        crop=dict(name="inception", evaluate=73),            # 2014, section 6; 8/7 of 64
        mirror=True,                                         # section 3.4
        color=dict(name="jitter"),
        optimizer=dict(momentum=0.9, weight_decay=5e-4),     # section 3.4: 1e-4, of more images
        schedule=dict(
            name="piecewise", learning_rate=0.02, factors=(1.0, 0.1, 0.01), boundaries=(20.0, 27.0),
        ),
        epochs=30.0,
        eval_every=5.0,
        eval_batch_size=200,
    )  # fmt: skip
