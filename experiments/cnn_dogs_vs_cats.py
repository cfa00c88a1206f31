"""The notes' exercise: their convolutional network on photographs of cats and dogs, made 64x64.

python launch.py train --config=experiments/cnn_dogs_vs_cats.py
Kaggle's own files, train/cat.0.jpg and so on in a folder DIR, and a table of labels for test1:
python launch.py train --config=experiments/cnn_dogs_vs_cats.py --config.data.name=image_folder
    --config.data.data_dir=DIR
cnn-archs predict --workdir=runs/cnn_dogs_vs_cats DIR/test1 --format=csv
Expected: the notes give no figure. 7,392,578 parameters.
A fifth of the images is set aside as test part, there being no labeled one. Sizes and recipe are
ours, with the notes' generator: shifts of a tenth and mirror images.
"""

from experiments import base


def get_config():
    return base.config(
        model=dict(name="cnn", num_classes=2),
        data=dict(name="cats_vs_dogs", image_shape=(64, 64, 3), batch_size=64),
        augment=dict(
            name="generator", width_shift_range=0.1, height_shift_range=0.1, horizontal_flip=True,
        ),
        optimizer=dict(name="adam"),
        schedule=dict(name="constant", learning_rate=1e-3),
        epochs=12.0,
        eval_batch_size=250,
    )  # fmt: skip
