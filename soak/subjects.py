"""The runs that a soak disturbs: small, and with every kind of state that a run can have."""

from pathlib import Path

import numpy as np
from PIL import Image

from soak.schedule import Subject

COMMON = ("--config.log_every=7", "--config.eval_batch_size=120")
# Everything with a state: a plateau, a warm-up by error, an average of the weights, and image
# statistics, which are kept beside the checkpoints.
FEEDBACK = (
    "--config.model.name=mlp",
    "--config.model.hidden=(16,)",
    "--config.schedule.name=plateau",
    "--config.schedule.learning_rate=0.1",
    "--config.schedule.patience=1",
    "--config.schedule.improvement=1.0",  # no evaluation after the first improves this much
    "--config.warmup.name=error",
    "--config.warmup.window=20",
    "--config.warmup.error=0.85",
    "--config.average.name=ema",
    "--config.data.holdout=137",
    "--config.data.mean=pixel",
    "--config.crop.name=pad",
    "--config.mirror=true",
)
DIGITS = (
    "--config=lenet5_digits",
    *FEEDBACK,
    "--config.steps=60",
    "--config.eval_every=0.5",
    "--config.checkpoint_every=0.25",
    "--config.diagnose_every=1",
)
# Images of many sizes from files, batch normalization.
FOLDER = (
    "--config=lenet5_digits",
    "--config.model.name=resnet20",
    "--config.model.width=0.25",
    "--config.model.blocks=(1,1,1)",
    "--config.model.num_classes=3",
    "--config.steps=40",
    "--config.eval_every=3",
    "--config.checkpoint_every=1",
    "--config.data.name=image_folder",
    "--config.data.image_shape=(16,16,3)",
    "--config.data.batch_size=9",
    "--config.schedule.boundaries=(5.0,)",
    "--config.data.mean=channel",
    "--config.crop.name=inception",
    "--config.crop.evaluate=18",
    "--config.mirror=true",
    "--config.color.name=pca",
)
SWEEP = """\
def get_sweep():
    one = ["lenet5_digits", "model.name=mlp", "model.hidden=(8,)", "steps=40", "log_every=7",
           "checkpoint_every=0.2", "eval_every=0.4", "eval_batch_size=120"]
    return dict(
        title="two cells",
        seeds=2,
        cells={"slow": one, "fast": [*one, "schedule.learning_rate=0.1"]},
    )
"""
CLASSES = ("blue", "green", "red")


def train_command(subject: Subject, home: Path, workdir: Path) -> list[str]:
    """Return the arguments of launch.py that train a subject. home: the folder of `prepare`."""
    where = f"--workdir={workdir}"
    if subject == "digits":
        return ["train", *DIGITS, *COMMON, where]
    if subject == "folder":
        return ["train", *FOLDER, *COMMON, f"--config.data.data_dir={images_of(home)}", where]
    return ["sweep", f"--config={home / 'two_cells.py'}", "--processes=2", where]


def images_of(home: Path) -> Path:
    """Return the folder of images of the subject `folder`."""
    return home / "images"


def prepare(home: Path) -> None:
    """Write what the subjects need to the folder `home`: drawn images and a sweep file."""
    (home / "two_cells.py").write_text(SWEEP)
    random = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        for i in range(20):
            draw(images_of(home) / "train" / name / f"{i}.{('jpg', 'png')[i % 2]}", random, label)


def draw(path: Path, random: np.random.Generator, label: int) -> None:
    """Write a noisy image in which the color of the class is the strongest."""
    height, width = random.integers(18, 60, 2)
    pixels = random.integers(0, 120, (height, width, 3))
    pixels[:, :, 2 - label] += 120
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
