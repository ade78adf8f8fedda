import os
import shutil
import warnings

import pytest
import yaml
from runs import BYOL, ROOT, STUDIES, study_file, write

from ebm.study.configuration import ConfigError, resolve
from ebm.study.sweep import load_study

COLLAPSE = STUDIES / "collapse.yaml"


@pytest.fixture(autouse=True)
def _untracked(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.fixture(scope="module")
def collapse():
    return load_study(COLLAPSE)


def contents(run):
    return {key: value for key, value in yaml.safe_load(run.config).items() if key not in ("seed", "name")}


def test_the_study_of_collapse_is_eight_arms_by_five_seeds_and_no_two_runs_are_the_same(collapse):
    assert len(collapse.arms) == 8
    assert [(run.arm, run.seed) for run in collapse.runs] == [(arm, seed) for arm in collapse.arms for seed in range(5)]
    assert len({run.id for run in collapse.runs}) == 40


def test_the_first_arm_is_the_control(collapse):
    assert "control" in collapse.arms[0]


def test_a_study_knows_its_question_and_how_its_answer_is_measured(collapse):
    assert collapse.question.endswith("?")
    assert (collapse.name, collapse.metric, collapse.goal) == ("collapse", "probe/linear", "maximize")


def test_the_runs_of_one_arm_differ_in_their_seed_alone(collapse):
    for arm in collapse.arms:
        first, *others = [run for run in collapse.runs if run.arm == arm]
        assert all(contents(run) == contents(first) for run in others)


def test_two_arms_differ_in_more_than_their_names(collapse):
    firsts = [contents(run) for run in collapse.runs if run.seed == 0]
    assert all(a != b for i, a in enumerate(firsts) for b in firsts[:i])


def test_all_arms_share_data_length_and_meters(collapse):
    first, *others = [contents(run) for run in collapse.runs]
    for other in others:
        assert all(other[part] == first[part] for part in ("data", "trainer", "meters"))


def test_a_study_is_the_same_from_any_folder_and_by_any_path(collapse, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ids = [run.id for run in collapse.runs]
    assert [run.id for run in load_study(COLLAPSE).runs] == ids
    monkeypatch.chdir(ROOT)
    assert [run.id for run in load_study("benchmarks/studies/collapse.yaml").runs] == ids


def test_a_study_in_another_folder_names_other_runs_only_if_its_contents_differ(collapse, tmp_path):
    shutil.copytree(STUDIES, tmp_path / "benchmarks" / "studies")
    moved = load_study(tmp_path / "benchmarks" / "studies" / "collapse.yaml")
    assert [run.id for run in moved.runs] == [run.id for run in collapse.runs]


def test_seeds_take_the_place_of_the_files(collapse):
    chosen = load_study(COLLAPSE, seeds=[7, 1])
    assert [run.seed for run in chosen.runs] == [7, 1] * 8
    known = {(run.arm, run.seed): run.id for run in collapse.runs}
    assert all(run.id == known[run.arm, 1] for run in chosen.runs if run.seed == 1)
    assert not {run.id for run in chosen.runs if run.seed == 7} & set(known.values())


def test_without_seeds_there_is_one_which_is_zero(tmp_path):
    path = study_file(tmp_path, {}, parameters={"model.warmup": {"values": [0.1, 0.2]}})
    assert [run.seed for run in load_study(path).runs] == [0, 0]


def test_options_that_follow_hold_for_every_run(collapse):
    short = load_study(COLLAPSE, ["--trainer.max_epochs=3"], seeds=[0])
    assert all(contents(run)["trainer"]["max_epochs"] == 3 for run in short.runs)
    assert not {run.id for run in short.runs} & {run.id for run in collapse.runs}


def test_whatever_else_varies_is_varied(tmp_path):
    parameters = {"model.warmup": {"values": [0.1, 0.2]}, "data.batch_size": {"values": [4, 8]}, "seed": {"value": 3}}
    runs = load_study(study_file(tmp_path, {}, parameters=parameters)).runs
    found = [
        (contents(run)["model"]["warmup"], contents(run)["data"]["init_args"]["batch_size"], run.seed) for run in runs
    ]
    assert found == [(0.1, 4, 3), (0.1, 8, 3), (0.2, 4, 3), (0.2, 8, 3)]


def test_a_value_that_does_not_vary_is_given_to_every_run(tmp_path):
    parameters = {"model.warmup": {"value": 0.5}, "seed": {"values": [0, 1]}}
    runs = load_study(study_file(tmp_path, {}, parameters=parameters)).runs
    assert [(contents(run)["model"]["warmup"], run.seed) for run in runs] == [(0.5, 0), (0.5, 1)]


def test_the_runs_that_an_arm_holds_differ_in_their_seed_alone_whatever_varies(tmp_path):
    arms = {"one": {}, "two": {"model": {"final_rate": 0.5}}}
    path = study_file(tmp_path, arms)
    sweep = yaml.safe_load(path.read_text())
    sweep["parameters"] = {"model.warmup": {"values": [0.1, 0.2]}, **sweep["parameters"]}
    study = load_study(write(path, sweep))
    assert len(study.arms) == 4
    for arm in study.arms:
        first, *others = [run for run in study.runs if run.arm == arm]
        assert all(contents(run) == contents(first) for run in others)


def runs_of(path):
    """The runs of a study, none if it is refused."""
    try:
        return load_study(path).runs
    except ConfigError:
        return ()


def test_two_arms_of_one_name_are_told_apart_or_refused(tmp_path):
    runs = runs_of(study_file(tmp_path, {"one": {"name": "same"}, "two": {"name": "same", "model": {"warmup": 0.5}}}))
    assert len({run.arm for run in runs}) == len(runs)


def test_a_value_that_is_given_twice_is_one_run_or_refused(tmp_path):
    runs = runs_of(study_file(tmp_path, {"one": {}}, seeds=[0, 0]))
    assert len({run.id for run in runs}) == len(runs)


MISTAKES = {
    "bayes": ({"method": "bayes"}, ["'bayes'", "`method: grid`", "wandb sweep"]),
    "random": ({"method": "random"}, ["'random'", "`method: grid`"]),
    "no method": ({"method": None}, ["method"]),
    "a misspelt key": ({"metod": "grid"}, ["'metod'", "did you mean 'method'"]),
    "a key of no sweep": ({"colour": "red"}, ["'colour'", "parameters"]),
    "no parameters": ({"parameters": {}}, ["no parameters", "`config`"]),
    "parameters that are none": ({"parameters": None}, ["no parameters"]),
    "parameters in a list": ({"parameters": ["seed"]}, ["parameters"]),
    "an empty list": ({"parameters": {"seed": {"values": []}}}, ["'seed'", "values", "[]"]),
    "a parameter without values": ({"parameters": {"model.warmup": {}}}, ["'model.warmup'", "values"]),
    "a bare list": ({"parameters": {"seed": [0, 1]}}, ["'seed'", "`{values: [...]}`", "[0, 1]"]),
    "a range": ({"parameters": {"model.warmup": {"min": 0, "max": 1}}}, ["'model.warmup'", "'min': 0", "grid"]),
    "an unknown option": (
        {"parameters": {"model.wormup": {"value": 0.5}}},
        ["model.wormup", "Did you mean model.warmup"],
    ),
    "a word for a number": ({"parameters": {"model.warmup": {"value": "long"}}}, ["model.warmup", "long"]),
    "a word for a seed": ({"parameters": {"seed": {"values": ["first"]}}}, ["seed", "first"]),
    "an arm that is not there": ({"parameters": {"config": {"values": ["arms/nowhere.yaml"]}}}, ["arms/nowhere.yaml"]),
    "no command": ({"command": []}, ["command", "${args}"]),
    "a command that is none": ({"command": None}, ["command", "${args}"]),
    "a command without arguments": ({"command": ["ebm", "fit"]}, ["command", "${args}"]),
    "a metric without a goal": ({"metric": "probe/knn"}, ["metric", "probe/knn"]),
}


@pytest.mark.parametrize(("changes", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_a_study_is_one_error_that_names_what_came_and_what_was_meant(tmp_path, changes, said):
    path = study_file(tmp_path, {"one": {}}, **changes)
    with pytest.raises(ConfigError) as caught:
        load_study(path)
    assert all(words in str(caught.value) for words in said), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a: [1,\n", "- 1\n", ""], ids=["broken", "a list", "empty"])
def test_a_file_that_is_no_study_is_named(tmp_path, text):
    (tmp_path / "odd.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"odd\.yaml"):
        load_study(tmp_path / "odd.yaml")


@pytest.mark.parametrize("name", ["nowhere.yaml", "."])
def test_a_study_that_is_not_there_is_named(tmp_path, name):
    with pytest.raises(ConfigError, match="could not be read"):
        load_study(tmp_path / name)


def violations(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it was written for another pydantic
        sweeps = pytest.importorskip("sweeps")
        return sweeps.schema_violations_from_proposed_config(yaml.safe_load(path.read_text()))


def test_wandb_takes_the_study_file_as_a_sweep():
    from wandb.sdk.launch.sweeps.utils import load_sweep_config

    assert violations(COLLAPSE) == []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves the file open
        assert load_sweep_config(str(COLLAPSE)) == yaml.safe_load(COLLAPSE.read_text())


def test_wandb_would_not_take_every_file(tmp_path):
    assert violations(study_file(tmp_path, {}, method="walk"))


def agents_command(sweep, values):
    """The words that W&B's agent starts a run with, by its own functions."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    args = create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})
    filled = {"${env}": ["/usr/bin/env"], "${args}": args["args"]}
    return [word for part in create_sweep_command(sweep["command"]) for word in filled.get(part, [part])]


def test_a_run_that_wandbs_agent_starts_is_the_run_of_the_study(collapse, monkeypatch):
    monkeypatch.chdir(ROOT)
    sweep = yaml.safe_load(COLLAPSE.read_text())
    arms = sweep["parameters"]["config"]["values"]
    by_agent = []
    for arm in arms:
        for seed in (0, 3):
            # Agents get the parameters in the order of their names.
            command = agents_command(sweep, {"config": arm, "seed": seed})
            assert command[:3] == ["/usr/bin/env", "ebm", "fit"]
            by_agent.append(resolve(command[3:])[0])
    mine = [run for run in collapse.runs if run.seed in (0, 3)]
    assert [(run.id, run.arm, run.seed) for run in by_agent] == [(run.id, run.arm, run.seed) for run in mine]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model.warmup", 0.25),
        ("model.warmup", 1e-3),
        ("model.symmetric", False),
        ("trainer.max_time", None),
        ("trainer.precision", "bf16-mixed"),
        ("model.energy.projector.widths", [8, 5]),
    ],
)
def test_a_value_means_to_an_agent_what_it_means_here(tmp_path, name, value):
    path = study_file(tmp_path, {}, parameters={name: {"values": [value]}})
    (run,) = load_study(path).runs
    command = agents_command(yaml.safe_load(path.read_text()), {name: value})
    assert resolve(command[3:])[0].id == run.id


def test_a_study_leaves_no_trace(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    path = study_file(tmp_path, {"one": {}})
    monkeypatch.chdir(tmp_path / "here")
    before = sorted(os.walk(tmp_path))
    load_study(path)
    assert sorted(os.walk(tmp_path)) == before


def test_small_studies_are_written_as_this_file_believes(tmp_path):
    study = load_study(
        study_file(tmp_path, {"one": {}, "two": {"name": "second", "model": {"warmup": 0.5}}}, seeds=[0, 1])
    )
    assert study.arms == ("one", "second")
    assert contents(study.runs[0])["data"]["init_args"]["batch_size"] == BYOL["data"]["batch_size"]
