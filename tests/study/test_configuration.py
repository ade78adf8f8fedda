import copy
from pathlib import Path

import pytest
import torch
import yaml
from runs import BYOL, STUDIES, arguments, small_run, write

from ebm.callbacks import Stopped
from ebm.energies import Predictive
from ebm.meters import rank, spread
from ebm.study.configuration import MANAGED, ConfigError, Run, build, parser, resolve
from ebm.study.training import train

ARMS = sorted((STUDIES / "arms").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _untracked(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")


def replaced(path, value):
    """The small run with another value, or a new one, at a path such as `model.warmup`."""
    changed = copy.deepcopy(BYOL)
    *folders, name = path.split(".")
    place = changed
    for folder in folders:
        place = place[folder]
    place[name] = value
    return changed


def leaves(contents, path=()):
    if isinstance(contents, dict) and contents:
        for key, value in contents.items():
            yield from leaves(value, (*path, key))
    else:
        yield path


UNSET = {
    "trainer.benchmark": "true",
    "trainer.callbacks": "[pytorch_lightning.callbacks.DeviceStatsMonitor]",
    "trainer.deterministic": "true",
    "trainer.gradient_clip_algorithm": "norm",
    "trainer.gradient_clip_val": "0.5",
    "trainer.limit_predict_batches": "2",
    "trainer.limit_test_batches": "2",
    "trainer.limit_train_batches": "2",
    "trainer.limit_val_batches": "2",
    "trainer.max_time": "01:00:00:00",
    "trainer.min_epochs": "2",
    "trainer.min_steps": "2",
    "trainer.precision": "bf16-mixed",
    "trainer.profiler": "simple",
    "trainer.val_check_interval": "2",
    "name": "chosen",
    "data.augmentations_y": "[runs.Noise]",
    "model.solver": "ebm.Adam",
    "model.within": "ebm.NonNegative",
    "model.penalty": "{class_path: ebm.L1, init_args: {strength: 0.1}}",
    "model.restarts": "2",
    "model.marginal": "{class_path: ebm.Laplace, init_args: {beta: 2.0, prior: {class_path: ebm.Uniform}}}",
    "model.adjoint": "ebm.Unrolled",
}


def resolved(run):
    return {".".join(path) for path in leaves(yaml.safe_load(run.config))}


def test_every_option_is_part_of_what_is_resolved(tmp_path):
    """Those that have no value of their own are part of it once they are given one."""
    found = resolved(small_run(tmp_path))
    options = {action.dest for action in parser()._actions if not action.dest.endswith("help")}
    for option in options - {"config", "results", "print_config", *UNSET}:
        assert any(name == option or name.startswith(f"{option}.") for name in found), option


@pytest.mark.parametrize("option", UNSET)
def test_an_option_that_is_given_a_value_makes_another_run(tmp_path, option):
    assert (small_run(tmp_path, f"--{option}={UNSET[option]}").id == small_run(tmp_path).id) is (option == "name")


def test_the_id_depends_on_each_thing_that_is_resolved_but_the_name(tmp_path):
    run = small_run(tmp_path)
    contents = yaml.safe_load(run.config)
    for path in leaves(contents):
        changed = copy.deepcopy(contents)
        place = changed
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = "another value"
        other = Run(run.arm, run.seed, yaml.safe_dump(changed))
        assert (other.id == run.id) is (path == ("name",)), path


def test_the_id_does_not_depend_on_the_order_of_keys_on_the_name_or_on_where_results_are_kept(tmp_path):
    run = small_run(tmp_path)
    backwards = {section: dict(reversed(contents.items())) for section, contents in reversed(BYOL.items())}
    assert small_run(tmp_path / "elsewhere", base=backwards).id == run.id
    reordered = dict(reversed(yaml.safe_load(run.config).items()))
    assert Run(run.arm, run.seed, yaml.safe_dump(reordered, sort_keys=False)).id == run.id
    assert small_run(tmp_path, "--name=another").id == run.id
    assert resolve([*arguments(tmp_path), "--results=/somewhere/else"])[0].id == run.id


def test_the_id_does_not_depend_on_whether_an_option_stands_in_a_file_or_on_the_command_line(tmp_path):
    in_file = small_run(tmp_path, base=replaced("model.warmup", 0.25))
    assert small_run(tmp_path, "--model.warmup=0.25").id == in_file.id
    assert small_run(tmp_path, "--model.warmup", "0.25").id == in_file.id


def test_the_id_does_not_depend_on_whether_a_default_is_written_out(tmp_path):
    assert small_run(tmp_path, "--model.final_rate=0.0", "--checkpoint_every=100").id == small_run(tmp_path).id


def test_an_argument_may_be_of_an_enumeration(tmp_path):
    run = small_run(tmp_path, "--trainer.callbacks=[pytorch_lightning.callbacks.Timer]")
    (timer,) = build(run).trainer["callbacks"]
    assert timer._interval == "step"


def test_a_run_of_another_seed_is_that_of_the_option(tmp_path):
    run = small_run(tmp_path)
    assert run.with_seed(3) == small_run(tmp_path, "--seed=3")
    assert run.with_seed(0).id == run.id
    assert len({run.with_seed(seed).id for seed in range(5)}) == 5


def test_an_id_names_a_folder_below_the_results(tmp_path):
    run, results = resolve(arguments(tmp_path))
    assert results == tmp_path / "results"
    assert run.folder(results).path == tmp_path / "results" / "runs" / run.id
    assert len(run.id) == 12
    assert run.id.isalnum()


@pytest.mark.parametrize(
    ("options", "name"),
    [([], "base"), (["--name=chosen"], "chosen"), (["--config", "{folder}/last.yaml"], "last")],
    ids=["of its file", "given", "of the last file"],
)
def test_an_arm_has_the_name_it_is_given_or_that_of_its_last_file(tmp_path, options, name):
    write(tmp_path / "last.yaml", {"model": {"warmup": 0.3}})
    assert small_run(tmp_path, *[option.format(folder=tmp_path) for option in options]).arm == name


def test_later_files_and_options_win(tmp_path):
    over = write(tmp_path / "over.yaml", {"model": {"warmup": 0.3}, "seed": 5})
    run = small_run(tmp_path, "--config", str(over), "--seed=7")
    contents = yaml.safe_load(run.config)
    assert contents["model"]["warmup"] == 0.3
    assert contents["model"]["symmetric"] is True
    assert (contents["seed"], run.seed) == (7, 7)


def test_what_is_built_is_what_was_asked_for(tmp_path):
    parts = build(small_run(tmp_path, "--meters=[ebm.meters.rank, ebm.meters.spread]", "--trainer.max_epochs=9"))
    assert isinstance(parts.learner.F.energy, Predictive)
    assert parts.learner.F.energy.predictor.widths == (4, 8, 4)
    assert parts.learner.F.energy.target.base == 0.9
    assert parts.data.batch_size == 8
    assert list(parts.meters) == [rank, spread]
    assert parts.trainer["max_epochs"] == 9
    assert parts.checkpoint_every == 100


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "RMSprop", "LBFGS"])
def test_any_optimiser_of_torch_is_named_by_its_path(tmp_path, optimizer):
    run = small_run(tmp_path, f"--model.optimizer=torch.optim.{optimizer}", "--model.optimizer.lr=0.25")
    learner = build(run).learner
    made = learner.optimizer(learner.parameters())
    assert type(made) is getattr(torch.optim, optimizer)
    assert made.param_groups[0]["lr"] == 0.25


def test_what_a_run_sets_itself_is_no_option(tmp_path):
    for name in MANAGED:
        with pytest.raises(ConfigError, match=f"trainer.{name}"):
            small_run(tmp_path, f"--trainer.{name}=true")


def test_resolving_leaves_no_trace(tmp_path, monkeypatch):
    words = arguments(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    resolve(words)
    assert not (tmp_path / "results").exists()
    assert not list((tmp_path / "here").iterdir())


ENERGY = "model.energy.init_args"
MISTAKES = {
    "a misspelt section": (replaced("modle", {"warmup": 0.1}), [], ["modle", "model"]),
    "a misspelt key": (replaced("model.warm_up", 0.1), [], ["warm_up", "warmup"]),
    "a misspelt argument": (replaced(f"{ENERGY}.encoder.init_args.width", [1]), [], ["'width'", "widths"]),
    "a misspelt part": (
        replaced(f"{ENERGY}.encodr", {"class_path": "ebm.networks.MLP"}),
        [],
        ["encodr", "Did you mean encoder"],
    ),
    "an unknown class": (
        replaced("model.energy.class_path", "ebm.energies.Predictiv"),
        [],
        ["Predictiv'", "Did you mean Predictive"],
    ),
    "an unknown module": (replaced("model.energy.class_path", "ebm.energy_zoo.One"), [], ["ebm.energy_zoo.One"]),
    "an unknown package": (replaced("model.energy.class_path", "mylab.energies.One"), [], ["mylab.energies.One"]),
    "a class of another kind": (
        replaced("model.energy.class_path", "ebm.losses.PushDown"),
        [],
        ["ebm.losses.PushDown", "Energy"],
    ),
    "an unknown loss": (
        replaced("model.losses.push_down.fn.class_path", "ebm.losses.PushDwn"),
        [],
        ["PushDwn", "Did you mean PushDown"],
    ),
    "an unknown optimiser": (
        replaced("model.optimizer.class_path", "torch.optim.Addam"),
        [],
        ["Addam", "Did you mean Adam"],
    ),
    "an unknown meter": (BYOL, ["--meters=[ebm.meters.energy_gaps]"], ["energy_gaps", "Did you mean energy_gap"]),
    "an unknown option": (BYOL, ["--model.warmpu=0.1"], ["--model.warmpu", "Did you mean model.warmup"]),
    "an option of Lightning's, misspelt": (BYOL, ["--trainer.max_epoch=1"], ["Did you mean trainer.max_epochs"]),
    "a word that is no option": (BYOL, ["vicreg"], ["vicreg"]),
    "a file that is not there": (BYOL, ["--config=nowhere.yaml"], ["nowhere.yaml", "does not exist"]),
    "a word for a number": (BYOL, ["--seed=three"], ["seed", "three"]),
    "a fraction for a count": (BYOL, ["--data.batch_size=2.5"], ["batch_size", "2.5"]),
    "a word for Lightning's number": (BYOL, ["--trainer.max_epochs=many"], ["max_epochs", "many"]),
    "a word in a list of numbers": (
        replaced(f"{ENERGY}.encoder.init_args.widths", ["a"]),
        [],
        ["widths", "Got value: a"],
    ),
    "a word for a weight": (BYOL, ["--model.losses.push_down.weight=heavy"], ["weight", "heavy"]),
    "a value that a class refuses": (BYOL, ["--data.batch_size=0"], ["batch_size must be at least 1, got 0"]),
    "no energy": ({"data": BYOL["data"]}, [], ["model.energy"]),
    "no terms": (replaced("model.losses", {}), [], ["nothing to minimise"]),
    "two terms of one name": (
        BYOL,
        ["--model.regularizers={push_down: {weight: 1, fn: ebm.regularizers.Variance}}"],
        ["push_down", "both named"],
    ),
}


@pytest.mark.parametrize(("base", "options", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_error_that_names_what_came_and_what_was_meant(tmp_path, base, options, said):
    with pytest.raises(ConfigError) as caught:
        small_run(tmp_path, *options, base=base)
    message = str(caught.value)
    assert all(words in message for words in said), message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["a: [1,\n", "- 1\n- 2\n", ""], ids=["broken", "a list", "empty"])
def test_a_file_that_is_no_configuration_is_named(tmp_path, text):
    (tmp_path / "odd.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"odd\.yaml"):
        small_run(tmp_path, "--config", str(tmp_path / "odd.yaml"))


def test_there_are_arms_to_test():
    assert {"control", "vicreg", "byol"} <= {arm.stem for arm in ARMS}


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.stem)
def test_every_arm_trains_two_steps_on_a_little_data_and_is_measured(tmp_path, arm):
    small = {
        "data": {"source": {"class_path": "runs.Stripes", "init_args": {"train": 16, "test": 8}}, "batch_size": 8},
        "trainer": {"max_epochs": 1, "check_val_every_n_epoch": 1, "log_every_n_steps": 1},
    }
    words = ["--config", str(STUDIES / "digits.yaml"), "--config", str(arm)]
    words += ["--config", str(write(tmp_path / "small.yaml", small)), "--data.augmentations=[runs.Noise]"]
    words += ["--model.energy.encoder.widths=[16, 32, 64]", f"--results={tmp_path}"]
    text = arm.read_text()
    if "encoder_y" in text:
        words.append("--model.energy.encoder_y.widths=[16, 32, 64]")
    if "decoder" in text:
        words.append(f"--model.energy.decoder.widths=[{32 if 'GaussianChannel' in text else 64}, 16]")
    run, results = resolve(words)
    folder = run.folder(results)
    train(run, folder, "test", lambda *_: None, lambda: False)
    result = folder.result()
    assert result["steps"] == 2
    assert result["arm"] == yaml.safe_load(arm.read_text())["name"]
    assert all(value is not None for value in result["metrics"].values())
    assert folder.history()["loss/total"].dropna().size == 2


def test_a_run_that_is_not_finished_can_be_told_from_one_that_is(tmp_path):
    run, results = resolve(arguments(tmp_path))
    assert run.folder(results).state() == "waiting"
    with pytest.raises(Stopped):
        train(run, run.folder(results), "test", lambda *_: None, lambda: True)
    assert run.folder(results).state() == "stopped"
    assert Path(run.folder(results).config).read_text() == run.config
