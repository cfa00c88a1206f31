"""The lecture notes' exercise: their convolutional network on 64x64 photographs of cats and dogs.

python launch.py train --config=experiments/cnn_dogs_vs_cats.py
To train on Kaggle's own files, train/cat.0.jpg and so on in a folder DIR, and label those of test1:
python launch.py train --config=experiments/cnn_dogs_vs_cats.py --config.data.name=image_folder
    --config.data.data_dir=DIR
cnn-archs predict --workdir=runs/cnn_dogs_vs_cats DIR/test1 --format=csv
Expected: the notes give no figure. 7,392,578 parameters:
        cnn-archs summarize --config=cnn_dogs_vs_cats
A fifth of the images is held out as the test split, because no other labeled images are published.
Sizes and recipe are ours, with the notes' generator: shifts of a tenth and mirror images.
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
