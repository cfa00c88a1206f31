"""Lines of a log that are gone when a run is resumed are told once, and only those."""

from cnn_archs import cli

SETTINGS = (
    "--config.model.name=mlp",
    "--config.model.hidden=(4,)",
    "--config.log_every=2",
    "--config.eval_every=9",
    "--config.diagnose_every=1",
    "--config.data.batch_size=100",
    "--config.data.examples=100",
    "--config.eval_batch_size=360",
)


def test_lines_that_are_missing_at_a_resume_are_told_once(tmp_path, capsys):
    def train(steps: int) -> list[str]:
        """Train on until `steps`, and return the lines on stderr that speak of lost lines."""
        arguments = ["train", f"--workdir={tmp_path}", *SETTINGS, f"--config.steps={steps}"]
        assert cli.main(arguments) == 0
        return [line for line in capsys.readouterr().err.splitlines() if " lost" in line]

    assert train(6) == []
    metrics, layers = (tmp_path / f"{name}.jsonl" for name in ("metrics", "diagnostics"))
    lines = metrics.read_bytes().splitlines(keepends=True)
    written = len(layers.read_bytes().splitlines())
    assert len(lines) >= 3 and written == 7  # at the start and after each epoch of one step
    metrics.write_bytes(b"".join(lines[:2]))  # cut between two lines
    layers.unlink()
    assert train(8) == [
        f"{metrics}: {len(lines) - 2} of {len(lines)} lines up to step 6 are lost",
        f"{layers}: 7 of 7 lines up to step 6 are lost",
    ]
    assert train(10) == []
