"""The report's figures: what is drawn is what the runs logged."""

import json
import re
import statistics
from pathlib import Path

import pytest
from fake_sweep import degradation, workdir, write_json
from matplotlib.figure import Figure

from cnn_archs.report import layer_plots, learning_curves, read_runs, scatter, svg
from cnn_archs.report.runs import CellRecord, Collection, RunRecord


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return degradation(tmp_path_factory.mktemp("sweep"), seeds=3)


@pytest.fixture(scope="module")
def sweep(folder):
    (found,) = read_runs.read_collections([folder])
    return found


@pytest.fixture
def axis():
    return Figure().subplots()


def logged(folder, cell, split, seed):
    lines = (folder / cell / f"seed{seed}" / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines if line.endswith("}")]
    return {p["step"]: 100 * p["top1_error"] for p in found if p["split"] == split}


def test_curves_are_dashed_for_training_bold_for_testing_and_thin_for_seeds(sweep, folder, axis):
    learning_curves.draw_errors(axis, sweep.cell("plain20"), "black")
    lines = axis.get_lines()
    assert len(lines) == 8  # three seeds and their mean, of train and test
    *seeds, train, _, _, _, test = lines
    assert train.get_linestyle() == "--" and test.get_linestyle() == "-"
    assert test.get_linewidth() > train.get_linewidth() > max(s.get_linewidth() for s in seeds)
    for line, split in ((train, "train"), (test, "test")):
        of_seeds = [logged(folder, "plain20", split, seed) for seed in range(3)]
        assert list(line.get_xdata()) == list(of_seeds[0])
        means = [statistics.fmean(one[step] for one in of_seeds) for step in of_seeds[0]]
        assert list(line.get_ydata()) == pytest.approx(means)
    assert list(seeds[2].get_ydata()) == pytest.approx(
        list(logged(folder, "plain20", "train", 2).values())
    )


def test_a_run_that_is_not_finished_is_a_thin_line_only(sweep, folder, axis):
    learning_curves.draw_errors(axis, sweep.cell("resnet56"), "black")
    *_, third, mean = axis.get_lines()
    assert list(third.get_xdata()) == [500] and list(mean.get_xdata()) == [500, 1000, 1500]
    of_seeds = [logged(folder, "resnet56", "test", seed)[1500] for seed in (0, 1)]
    assert mean.get_ydata()[-1] == pytest.approx(statistics.fmean(of_seeds))


def test_long_logs_are_averaged_over_the_images_in_between():
    lines = [dict(step=s, top1_error=s / 1000, examples=100 * (1 + s % 2)) for s in range(1, 301)]
    steps, errors = learning_curves.binned_curve(lines)
    assert len(steps) == 150 and steps[:2] == [2, 4] and steps[-1] == 300
    assert errors[0] == pytest.approx(100 * (0.001 * 200 + 0.002 * 100) / 300)


def test_the_axis_shows_the_last_errors_well(sweep):
    fit = learning_curves.error_limits(sweep.cells)
    assert fit.cut and fit.top == pytest.approx(2.2 * max(c for c in last_errors(sweep)))
    assert fit.bottom == 0 and not fit.log and fit.right == 1.01 * 1500


def last_errors(sweep):
    for cell in sweep.cells:
        for split in ("train", "test"):
            yield from (100 * lines[-1]["top1_error"] for lines in cell.lines(split).values())


def logged_cell(name, errors, steps=100):
    """A cell of one seed without a result, whose training and test errors are `errors`."""
    lines = [
        dict(step=steps * (i + 1) // len(errors), seed=0, split=split, top1_error=e, examples=10)
        for split in ("train", "test")
        for i, e in enumerate(errors)
    ]
    return CellRecord(name, "", (), [RunRecord(Path(name), metrics=lines)])


def test_axes_fit_curves_that_end_far_apart_or_fall_little():
    """A network that learned nothing does not flatten the others, nor does 0 where nothing is."""
    good, bad = logged_cell("good", [0.9, 0.2, 0.02]), logged_cell("bad", [0.9, 0.9, 0.9])
    fit = learning_curves.error_limits([good, bad])
    assert fit.log and fit.bottom < 2 and fit.top > 90 and not fit.cut
    fit = learning_curves.error_limits([bad, logged_cell("b", [0.9, 0.85, 0.8])])
    assert not fit.log and 70 < fit.bottom < 80 and fit.top > 90
    zero = learning_curves.error_limits([good, logged_cell("zero", [0.9, 0.1, 0.0])])
    assert not zero.log and zero.bottom == 0
    (figure,) = learning_curves.error_figures(Collection("t", "", [good, bad]))
    assert ">50<" in figure.panels[0].svg and "0 lies below" in figure.caption


def test_a_short_run_is_not_a_stroke_at_the_left_of_a_long_one():
    short, long = logged_cell("short", [0.5, 0.4], 90), logged_cell("long", [0.5, 0.4], 64_000)
    (figure,) = learning_curves.error_figures(Collection("t", "", [long, short]))
    right = [json.loads(p.chart)["x"][2] for p in figure.panels]
    assert right == pytest.approx([1.01 * 90, 1.01 * 64_000], rel=1e-5)
    assert [p.legend[0].label for p in figure.panels] == ["short", "long"]


def test_a_curve_of_one_point_has_a_marker():
    (figure,) = learning_curves.error_figures(Collection("t", "", [logged_cell("a", [0.5])]))
    assert "<use" in figure.panels[0].svg.split("data-curve")[1]


def test_the_numbers_of_a_panel_are_those_that_were_logged(sweep, folder):
    """The page's script shows values and zooms by these, in the order of the SVG's curves."""
    (figure,) = learning_curves.error_figures(sweep)
    panel = figure.panels[0]
    chart = json.loads(panel.chart)
    drawn = re.findall(r'data-curve="(\d+)"', panel.svg)
    assert drawn == [str(i) for i in range(16)] and len(chart["curves"]) == 16
    of_kind = {(name, kind): ys for name, kind, _, ys in chart["curves"]}
    of_seeds = [logged(folder, "plain20", "test", seed) for seed in range(3)]
    means = [statistics.fmean(one[step] for one in of_seeds) for step in of_seeds[0]]
    assert of_kind["plain20", "test"] == pytest.approx(means, rel=1e-5)
    assert of_kind["plain20", "seed test"] == pytest.approx([*of_seeds[2].values()], rel=1e-5)
    labels = {(k.label, k.is_kind) for k in panel.legend}
    assert {(name, False) for name, *_ in chart["curves"]} <= labels
    left, top, width, height = chart["box"]
    across, down = map(float, re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', panel.svg)[0])
    assert 0 < left < left + width <= across and 0 <= top < top + height < down
    assert chart["x"][:2] == ["iterations", 0] and chart["y"][0] == "error, %"
    # A value of the numbers lies in the SVG where the limits say.
    number = [curve[:2] for curve in chart["curves"]].index(["plain20", "test"])
    path = re.findall(rf'data-curve="{number}">\s*<path d="M ([\d.]+) ([\d.]+)', panel.svg)[0]
    across, up = (500 / chart["x"][2], means[0] / chart["y"][2])
    at = (left + width * across, top + height * (1 - up))
    assert tuple(map(float, path)) == pytest.approx(at, abs=0.01)


def test_plain_is_left_and_residual_right(sweep):
    (figure,) = learning_curves.error_figures(sweep)
    assert [[k.label for k in p.legend] for p in figure.panels] == [
        ["plain20", "plain56", "train", "test"],
        ["resnet20", "resnet56", "train", "test"],
    ]
    assert ">plain<" in figure.panels[0].svg and ">residual<" in figure.panels[1].svg
    named = [k.look.color for p in figure.panels for k in p.legend if not k.is_kind]
    assert named == [0, 1, 0, 1]


def test_runs_on_two_datasets_are_two_figures(tmp_path):
    for name, dataset in (("a", "cifar10"), ("b", "mnist")):
        run = workdir(tmp_path / name, name, 0, 0.1, 0.1)
        tree = json.loads((run / "result.json").read_text())
        write_json(run / "result.json", {**tree, "dataset": dataset})
    both = read_runs.read_collections([tmp_path / "a", tmp_path / "b"])
    assert [c.title for c in both] == ["Runs on cifar10", "Runs on mnist"]
    mixed = Collection("t", "", [c for one in both for c in one.cells])
    titles = [figure.title for figure in learning_curves.error_figures(mixed)]
    assert titles == [f"Training and test error on {d}" for d in ("cifar10", "mnist")]


def test_the_gap_by_depth_has_means_and_deviations(sweep, folder):
    points = scatter.points_of(sweep.cells[:2], "depth", "test.top1_error")
    for (depth, mean, sd, name), seeds in zip(points, ((0, 1, 2), (0, 1)), strict=True):
        values = [logged(folder, name, "test", seed)[1500] for seed in seeds]
        assert name == f"plain{depth:g}"
        assert mean == pytest.approx(statistics.fmean(values))
        assert sd == pytest.approx(statistics.stdev(values))
    (figure,) = scatter.size_figures(sweep)
    assert figure.title == "The gap by depth"
    assert [k.label for k in figure.legend] == ["plain", "residual"]


@pytest.mark.parametrize(
    "model, name, depth",
    [
        (dict(kind="basic", blocks=[9, 9, 9]), "x", 56),
        (dict(kind="bottleneck", blocks=[3, 4, 6, 3]), "x", 50),
        (dict(column="C"), "vgg_c_cifar", 16),
        (dict(column="A-LRN"), "x", 11),
        (dict(), "plain110 warm", None),
    ],
)
def test_depths(model, name, depth):
    run = RunRecord(Path("x"), config={"model": model})
    assert CellRecord(name, "", (), [run]).depth == depth


def test_cost_is_drawn_where_it_differs_and_depth_is_not_the_question(sweep):
    assert scatter.cost_figures(sweep) == []
    plain = Collection("t", "", sweep.cells)
    (figure,) = scatter.cost_figures(plain)
    assert [p.says.split(":")[0] for p in figure.panels] == [
        "test error against multiply-adds",
        "test error against parameters",
    ]
    assert all(f">{cell.name}<" in figure.panels[0].svg for cell in sweep.cells)
    assert scatter.cost_figures(Collection("t", "", sweep.cells[:1])) == []


def test_names_of_points_do_not_lie_on_one_another(axis):
    axis.set(xlim=(0, 1), ylim=(0, 1))
    scatter.name_points(axis, [(0.5, 0.97 + i / 1000, 0.0, str(i)) for i in range(8)])
    at = [text.xyann[1] for text in axis.texts]
    assert max(at) <= 1.0 + 1e-9 and all(b - a > 0.05 for a, b in zip(at, at[1:], strict=False))


def test_responses_and_gradients_are_those_of_the_diagnostics(sweep):
    plain = sweep.cell("plain20")
    assert layer_plots.diagnosed_steps(plain) == [0, 1500]
    responses = layer_plots.layer_values(plain, "response_sd", 1500)
    assert responses == pytest.approx([2 / (i + 1) for i in range(19)])
    norms = layer_plots.layer_values(plain, "gradient_norm", 0)
    assert norms == pytest.approx([2 / (i + 1) for i in range(20)])
    norms = layer_plots.layer_values(plain, "gradient_norm", 1500)
    assert norms == pytest.approx([0.2 / (i + 1) for i in range(20)])
    figure = layer_plots.responses_figure(sweep)
    assert figure and "at step 1,500;" in figure.caption
    assert layer_plots.responses_figure(Collection("t", "", [])) is None
    assert layer_plots.gradients_figure(Collection("t", "", [])) is None


def diagnosed_at(name, *of_seeds, finished=(0,)):
    """A cell whose seeds, 0, 1, ..., are diagnosed at these steps: the norm says at which."""
    runs = [
        RunRecord(
            Path("x"),
            result={"seeds": [seed]} if seed in finished else {},
            diagnostics=[
                {"step": s, "seed": seed, "layers": [{"name": "a", "gradient_norm": s + seed + 1}]}
                for s in steps
            ],
        )
        for seed, steps in enumerate(of_seeds)
    ]
    return CellRecord(name, "", (), runs)


def moments(*of_cells):
    return layer_plots.diagnosed_moments(Collection("t", "", of_cells))


def test_gradients_are_drawn_at_the_start_soon_after_halfway_and_at_the_end():
    """The moments of 16,000 steps that are diagnosed every 1,000: 0, 1,000, 8,000 and 16,000."""
    whole = diagnosed_at("a", range(0, 16001, 1000))
    assert moments(whole) == [{"a": 0}, {"a": 1000}, {"a": 8000}, {"a": 16000}]
    figure = layer_plots.gradients_figure(Collection("t", "", [whole]))
    assert figure is not None
    said = [p.says for p in figure.panels]
    assert said == [f"norm at step {s} of a" for s in ("0", "1,000", "8,000", "16,000")]
    half = diagnosed_at("b", range(0, 3001, 1000), finished=())
    assert moments(whole, half)[2:] == [{"a": 8000}, {"a": 16000, "b": 3000}]
    begun = diagnosed_at("b", [0], finished=())
    assert moments(whole, begun) == [{"a": 0, "b": 0}, {"a": 1000}, {"a": 8000}, {"a": 16000}]
    assert moments(begun) == [{"b": 0}] and moments(diagnosed_at("c", [0, 9])) == [
        *({"c": 0}, {"c": 9}),
    ]


@pytest.mark.parametrize("highest, labels", [(0.25, {"0.05", "0.2"}), (70.0, {"0.1", "10"})])
def test_norms_are_labeled_with_plain_numbers_however_far_apart_they_are(highest, labels):
    norms = (0.04, 0.08, highest)
    layers_of = [{"name": f"layer{i}", "gradient_norm": n} for i, n in enumerate(norms)]
    run = RunRecord(Path("x"), diagnostics=[{"step": 0, "seed": 0, "layers": layers_of}])
    figure = layer_plots.gradients_figure(Collection("t", "", [CellRecord("a", "", (), [run])]))
    assert figure is not None
    svg = figure.panels[0].svg
    assert "math" not in svg and "$" not in svg
    assert labels <= set(re.findall(r">([\d.]+)</text>", svg))


def test_a_seed_that_is_not_finished_leaves_the_others_as_they_are():
    cell = diagnosed_at("a", [0, 10, 20], [0, 10])
    assert layer_plots.diagnosed_steps(cell) == [0, 10, 20]
    assert layer_plots.layer_values(cell, "gradient_norm", 10) == [11]  # of seed 0 alone
    both = diagnosed_at("a", [0, 10, 20], [0, 10], finished=())
    assert layer_plots.diagnosed_steps(both) == [0, 10]
    assert layer_plots.layer_values(both, "gradient_norm", 10) == [11.5]


def test_damage_is_error_by_amount(sweep):
    amounts, means, sds = layer_plots.damage(sweep.cell("plain20"), "rotate")
    assert amounts == [0, 1, 2, 4] and means == pytest.approx([1, 6, 11, 21])
    assert sds == pytest.approx([0] * 4, abs=1e-9)
    (figure,) = layer_plots.robustness_figures(sweep)
    assert len(figure.panels) == 4


def test_the_warm_up_is_drawn_where_there_is_one(tmp_path):
    deep = workdir(tmp_path / "deep", "resnet110", 0, 0.06, 0.01, depth=110)
    (runs,) = read_runs.read_collections([deep])
    figure = learning_curves.warm_up_figure(runs)
    assert figure and [p.says.split(",")[0] for p in figure.panels] == [
        "training error",
        "learning rate at the beginning",
    ]
    assert learning_curves.warm_up_figure(Collection("t", "", [])) is None


def test_colors_and_fonts_are_the_page_s(sweep):
    (figure,) = learning_curves.error_figures(sweep)
    for panel in figure.panels:
        assert "var(--c1)" in panel.svg and "currentColor" in panel.svg
        assert "font-family" not in panel.svg and "<metadata" not in panel.svg
        assert not [c for c in (svg.INK, svg.GRID, "#fe") if c in panel.svg]


@pytest.fixture
def drawn_png(monkeypatch):
    """The axes of each figure that is saved."""
    saved, original = [], Figure.savefig

    def save(figure, *arguments, **options):
        saved.append(figure.axes)
        original(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", save)
    return saved


def test_the_picture_of_one_run_is_error_and_loss_by_epoch(tmp_path, drawn_png):
    """Two seeds, of which one has no error left: there is no logarithm of 0 to be drawn."""
    lines = [
        dict(split=split, seed=seed, step=10 * epoch, epoch=epoch, examples=50)
        | dict(top1_error=0.25 / epoch * (1 - seed), loss=1 / epoch)
        for split in ("train", "val", "test")
        for seed in (0, 1)
        for epoch in (1, 2, 4)
    ]
    made = dict(name="lenet5", dataset="mnist", protocol="single", seeds=[0, 1], steps=40)
    made |= dict(seconds=1.0, images_per_second=2000.0, params=61706, macs=416520)
    write_json(tmp_path / "result.json", made | dict(test=dict(top1_error=[0.0625, 0.0])))
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert learning_curves.write_curves_png(tmp_path).read_bytes().startswith(b"\x89PNG")
    ((error, loss),) = drawn_png
    means = {line.get_label(): line for line in error.get_lines() if line.get_linewidth() > 1}
    assert list(means) == ["train", "held out", "test"] and len(error.get_lines()) == 9
    for line in means.values():
        assert list(line.get_xdata()) == [1, 2, 4]
        assert list(line.get_ydata()) == pytest.approx([12.5, 6.25, 3.125])
    assert {"2", "5", "10", "20"} <= {label.get_text() for label in error.get_yticklabels()}
    assert error.get_yscale() == loss.get_yscale() == "log"
    assert list(loss.get_lines()[0].get_ydata()) == pytest.approx([1, 0.5, 0.25])
    assert error.figure.get_suptitle() == "lenet5 on mnist, 2 seeds"
