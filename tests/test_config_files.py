"""Files of experiments: the arguments that they list, their errors, and the keys they may set."""

import sys

import pytest

from cnn_archs import cli, config, config_files
from cnn_archs.commands.shared import split_folders
from cnn_archs.config_keys import ALIASES, flatten
from cnn_archs.errors import ConfigError

HEAD = "from experiments import base\n"
BODY = "    return base.config(model=dict(name='mlp'))\n"


def message_of(tmp_path, text, argument="", name="exp.py"):
    """Return the one line that loading a file with this text ends with."""
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError) as e:
        config.load_config(f"{path}{argument}", [])
    assert "\n" not in str(e.value)
    return str(e.value).replace(str(tmp_path), "DIR")


@pytest.mark.parametrize(
    "experiment, message",
    [
        ("shapes:augmentd", "no argument 'augmentd'; did you mean 'augmented'? shapes.py takes pl"),
        ("shapes:", "no argument ''; shapes.py takes plain, augmented"),
        ("alexnet_imagenet:quick", "no argument 'quick'; alexnet_imagenet.py takes one_tower, one"),
        ("vgg_cifar10:d", "no argument 'd'; did you mean 'D'? vgg_cifar10.py takes A, A-LRN"),
        ("lenet5_digits:quick", "no argument 'quick'; lenet5_digits.py takes none"),
    ],
)
def test_an_argument_that_a_file_does_not_list_is_refused(experiment, message):
    with pytest.raises(ConfigError) as e:
        config.load_config(experiment, [])
    assert message in str(e.value)


def test_a_sweep_with_a_wrong_argument_does_not_start(tmp_path, capsys):
    arguments = ["sweep", "--config=degradation:quik", f"--workdir={tmp_path}/run"]
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert "no argument 'quik'; did you mean 'quick'? degradation.py takes first, " in error
    assert not (tmp_path / "run").exists()


def test_a_file_of_ones_own_lists_its_arguments_too(tmp_path):
    text = f"{HEAD}def get_config(variant=''):\n{BODY}"
    assert "write ARGUMENTS = (" in message_of(tmp_path, text, ":wide")
    assert "no argument 'wde'; did you mean 'wide'?" in message_of(
        tmp_path, f"ARGUMENTS = ('wide',)\n{text}", ":wde"
    )
    assert "ARGUMENTS must be texts" in message_of(tmp_path, f"ARGUMENTS = 'wide'\n{text}", ":w")
    needed = f"ARGUMENTS = ['wide']\n{HEAD}def get_config(variant):\n{BODY}"
    assert "exp needs an argument: exp.py takes wide" in message_of(tmp_path, needed)
    assert config.load_config(f"{tmp_path}/exp.py:wide", []).model.name == "mlp"


@pytest.mark.parametrize(
    "body, message",
    [
        ("x = 1 +", "SyntaxError: invalid syntax"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module' (line 1)"),
        ("def get_config():\n    return nme", "NameError: name 'nme' is not defined (line 2)"),
        ("def get_config():\n    raise SystemExit(3)", "SystemExit: 3 (line 2)"),
        ("def get_config():\n    raise KeyError", "KeyError: KeyError (line 2)"),
        ("get_config = 5", "has no function get_config"),
        ("def get_config(): pass", "get_config returns NoneType, not base.config(...)"),
        (
            "from ml_collections import ConfigDict\ndef get_config(): return ConfigDict()",
            "model has no name that is known: None",
        ),
    ],
)
def test_an_error_inside_a_file_is_one_line_that_says_where(body, message, tmp_path):
    found = message_of(tmp_path, body)
    assert found.startswith("--config: DIR/exp.py") and message in found


@pytest.mark.parametrize(
    "stated, message",
    [
        ("lr=0.1", "ValueError: there is no key lr, only seed, seeds, "),
        ("data=dict(batchsize=3)", "there is no key data.batchsize, only name, data_dir, "),
        ("data='digits'", "data is a section: dict(key=value), not 'digits'"),
        ("crop='pad'", "crop.name is '', not one of none, pad"),
        ("optimizer=dict(name='sgd')", "optimizer.name is 'sgd', not one of momentum"),
        ("epochs='3'", "exp.py: epochs=3: must be a number, from 0 to 1000000"),
        ("epochs=None", "epochs=None: must be a number"),
        ("data=dict(batch_size=8.0)", "data.batch_size=8.0: must be a whole number, from 1"),
        ("data=dict(pixel_range=(0.0,))", "data.pixel_range=(0.0,): must be 2 values (a,b)"),
        ("optimizer=dict(momentum=2.0)", "optimizer.momentum=2.0: must be a number, at least 0"),
        ("model=dict(name='lenet5', num_classes='10')", "model.num_classes=10: must be a whole"),
        ("model=dict(name='lenet5', depth=1)", "model lenet5: no field 'depth'; choose one of"),
        ("model=dict(name='lenet-5')", "model.name: no value 'lenet-5'; did you mean 'lenet5'"),
        ("model='lenet5'", "model has no name that is known: None"),
    ],
)
def test_a_wrong_value_in_a_file_is_one_line_that_names_the_key(stated, message, tmp_path):
    text = f"{HEAD}def get_config():\n    return base.config({stated})\n"
    assert message in message_of(tmp_path, text)


def test_a_file_imports_what_lies_beside_it_and_two_folders_do_not_mix(tmp_path):
    for folder, rate in (("a", 0.25), ("b", 0.5)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "my_rates.py").write_text(f"RATE = {rate}\n")
        (tmp_path / folder / "json.py").write_text("raise SystemExit('the wrong json')\n")
        (tmp_path / folder / "exp.py").write_text(
            f"{HEAD}import json\ndef get_config():\n    from my_rates import RATE\n"
            "    return base.config(schedule=dict(learning_rate=RATE))\n"
        )
    before = list(sys.path)
    rates = [
        config.load_config(f"{tmp_path}/{folder}/exp.py", []).schedule.learning_rate
        for folder in ("a", "b")
    ]
    assert rates == [0.25, 0.5] and sys.path == before and "my_rates" not in sys.modules


def test_a_path_may_have_a_colon():
    split = config_files.split_argument
    assert split("a:b/x.py:c") == ("a:b/x.py", "c") and split("a:b/x.py") == ("a:b/x.py", None)
    assert split("shapes:plain") == ("shapes", "plain") and split("shapes") == ("shapes", None)


@pytest.mark.parametrize(
    "overrides, meant",
    [
        (["batch_size=64"], "did you mean 'data.batch_size'"),
        (["model.batch_size=64"], "did you mean 'data.batch_size'"),
        (["optimizer.learning_rate=0.1"], "did you mean 'schedule.learning_rate'"),
        (["optimizer.lr=0.1"], "did you mean 'schedule.learning_rate'"),
        (["lr=0.1"], "did you mean 'schedule.learning_rate'"),
        (["schedule.lr=0.1"], "did you mean 'schedule.learning_rate'"),
        (["warmup.name=error", "learning_rate=0.1"], "did you mean 'schedule.learning_rate'"),
        (["optimizer.wieght_decay=0.1"], "did you mean 'optimizer.weight_decay'"),
        (["optimzer.momentum=0.1"], "did you mean 'optimizer.momentum'"),
        (["momentum=0.1"], "did you mean 'optimizer.momentum'"),
        (["model.name=vgg16"], "did you mean 'vgg_d'"),
        (["model.name=vgg19_bn"], "did you mean 'vgg_e_bn'"),
        (["optimizer.name=sgd"], "did you mean 'momentum'"),
        (["optimizer.name=adam", "optimizer.momentum=0.5"], "needs --config.optimizer.name=mome"),
        (["optimizer.name=adam", "wd=0.5"], "optimizer.weight_decay needs --config.optimizer.name"),
        (["schedule.name=lenet5_book", "lr=0.1"], "needs --config.schedule.name=constant or piece"),
        (["crop.pixels=4"], "crop.pixels needs --config.crop.name=pad"),
        (["model.dropout=0.5"], "model.dropout needs --config.model.name=alexnet"),
        (["optimizer.qqq=1"], "choose one of optimizer.name, optimizer.momentum"),
    ],
)
def test_a_hint_names_the_right_key(overrides, meant):
    with pytest.raises(ConfigError) as e:
        config.load_config("lenet5_digits", overrides)
    assert meant in str(e.value), str(e.value)


def test_every_alias_is_of_something_that_there_is():
    base = config.base_module()
    keys = config.all_keys().keys() | flatten(base.KINDS).keys() | {"model.name"}
    from cnn_archs.models import MODELS

    choices = {name for names in base.CHOICES.values() for name in names} | MODELS.keys()
    assert set(ALIASES.values()) <= keys | choices


def test_a_comma_in_the_name_of_a_folder_does_not_divide_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("lr=0.1,wd=0", "a", "b,c"):
        (tmp_path / name).mkdir()
    assert [str(p) for p in split_folders("lr=0.1,wd=0")] == ["lr=0.1,wd=0"]
    assert [str(p) for p in split_folders("a,lr=0.1,wd=0,b,c,none")] == [
        *("a", "lr=0.1,wd=0", "b,c", "none")
    ]
    assert [str(p) for p in split_folders("~/a,~/b,c")] == [f"{tmp_path}/a", f"{tmp_path}/b,c"]
