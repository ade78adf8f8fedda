import json
import math
import multiprocessing
import pickle

import filelock
import numpy as np
import pandas as pd
import pytest
import torch

from ebm.study.store import AtomicCheckpoints, History, RunFolder, write_text

RESULT = {"arm": "one", "seed": 0, "metrics": {"probe/knn": 0.5}, "seconds": 1.5}
CODES = {"code": np.arange(6.0).reshape(3, 2), "label": np.arange(3)}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run")


class FullError(Exception):
    """What a disk says."""


class Unwritable:
    """Cannot be written, which is noticed when half of a file is."""

    def __reduce__(self):
        raise FullError


def files(folder):
    return {path.name for path in folder.path.iterdir()}


def test_a_run_without_a_folder_or_with_an_empty_one_is_waiting(tmp_path, folder):
    assert RunFolder(tmp_path / "none").state() == "waiting"
    assert folder.state() == "waiting"
    folder.config.write_text("seed: 0")
    assert folder.state() == "waiting"


def test_a_run_with_a_checkpoint_is_stopped_one_with_a_failure_failed_and_one_with_a_result_finished(folder):
    folder.checkpoint.touch()
    assert folder.state() == "stopped"
    folder.failure.touch()
    assert folder.state() == "failed"
    folder.write_result(RESULT, CODES)
    assert folder.state() == "finished"


def test_a_run_that_a_process_holds_is_running_until_it_lets_go(folder):
    folder.checkpoint.touch()
    with folder.lock():
        assert folder.state() == "running"
    assert folder.state() == "stopped"


def test_two_may_not_train_one_run_at_a_time(folder):
    with folder.lock(), pytest.raises(filelock.Timeout), folder.lock():
        pass


def _hold_and_die(path):
    RunFolder(path).lock().acquire()


def test_the_lock_of_a_process_that_died_is_free(folder):
    process = multiprocessing.get_context("fork").Process(target=_hold_and_die, args=(folder.path,))
    process.start()
    process.join()
    assert folder.state() == "waiting"
    with folder.lock():
        pass


def test_a_result_and_codes_are_read_as_they_were_written(folder):
    folder.write_result(RESULT, CODES)
    assert folder.result() == RESULT
    for name, array in CODES.items():
        np.testing.assert_array_equal(folder.codes()[name], array)


def test_numbers_that_json_cannot_hold_are_null(folder):
    folder.write_result(RESULT | {"metrics": {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1.0}}, CODES)
    assert folder.result()["metrics"] == {"a": None, "b": None, "c": None, "d": 1.0}
    folder.append({"step": 0, "loss/total": math.nan})
    json.loads((folder.path / "history.jsonl").read_text(), parse_constant=pytest.fail)


def test_a_run_is_finished_only_once_its_codes_are_kept_too(folder, monkeypatch):
    def full(*_, **__):
        raise FullError

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(FullError):
        folder.write_result(RESULT, CODES)
    assert folder.state() != "finished"


def test_codes_run_no_code_when_they_are_loaded(folder):
    np.savez(folder.path / "codes.npz", code=np.array([FullError()], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        folder.codes()
    with pytest.raises(ValueError, match="allow_pickle"):
        folder.write_result(RESULT, {"code": np.array([FullError()], dtype=object)})


def test_a_file_is_whole_or_as_it_was(folder):
    write_text(folder.config, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(folder.config, "half of it \ud800")
    assert folder.config.read_text() == "old"
    assert files(folder) == {"config.yaml"}
    write_text(folder.config, "new")
    assert folder.config.read_text() == "new"


def test_a_file_is_written_into_a_folder_that_is_not_there_yet(tmp_path):
    write_text(tmp_path / "a" / "b" / "page.html", "new")
    assert (tmp_path / "a" / "b" / "page.html").read_text() == "new"


def test_a_checkpoint_that_cannot_be_written_whole_leaves_the_old_one(folder):
    checkpoints = AtomicCheckpoints()
    checkpoints.save_checkpoint({"step": 1, "weights": torch.arange(3)}, folder.checkpoint)
    with pytest.raises(FullError):
        checkpoints.save_checkpoint({"step": 2, "weights": torch.zeros(1000), "rest": Unwritable()}, folder.checkpoint)
    assert checkpoints.load_checkpoint(folder.checkpoint)["step"] == 1
    assert files(folder) == {"last.ckpt"}


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_checkpoint_that_the_disk_refuses_leaves_the_old_one(folder, monkeypatch, step):
    checkpoints = AtomicCheckpoints()
    checkpoints.save_checkpoint({"step": 1}, folder.checkpoint)
    with monkeypatch.context() as patch:
        patch.setattr(f"os.{step}", lambda *_: (_ for _ in ()).throw(FullError))
        with pytest.raises(FullError):
            checkpoints.save_checkpoint({"step": 2}, folder.checkpoint)
    assert checkpoints.load_checkpoint(folder.checkpoint) == {"step": 1}
    assert files(folder) == {"last.ckpt"}


def test_what_a_killed_process_left_half_written_is_not_taken_for_a_checkpoint(folder):
    (folder.path / ".last.ckpt.4711").write_bytes(b"half")
    assert folder.state() == "waiting"
    AtomicCheckpoints().save_checkpoint({"step": 1}, folder.checkpoint)
    assert AtomicCheckpoints().load_checkpoint(folder.checkpoint) == {"step": 1}


def test_a_checkpoint_that_holds_more_than_numbers_is_refused(folder):
    torch.save({"step": 1, "rest": FullError()}, folder.checkpoint)
    for asked in (None, False, True):
        with pytest.raises(pickle.UnpicklingError):
            AtomicCheckpoints().load_checkpoint(folder.checkpoint, weights_only=asked)


def test_the_history_of_a_run_that_has_none_is_empty(folder):
    assert folder.history().empty


def test_the_history_has_a_row_for_each_step_in_order_and_a_column_for_each_number(folder):
    for row in ({"step": 3, "a": 1.0}, {"step": 1, "a": 2.0}, {"step": 3, "b": 4.0}):
        folder.append(row)
    expected = pd.DataFrame({"step": [1, 3], "a": [2.0, 1.0], "b": [np.nan, 4.0]})
    pd.testing.assert_frame_equal(folder.history(), expected)


def test_of_a_step_that_was_done_again_the_last_counts(folder):
    for value in (1.0, 2.0, 3.0):
        folder.append({"step": 0, "a": value})
    assert folder.history()["a"].tolist() == [3.0]


def test_the_line_that_was_being_written_when_a_run_was_killed_is_left_out(folder):
    folder.append({"step": 0, "a": 1.0})
    with (folder.path / "history.jsonl").open("a") as file:
        file.write('{"step": 1, "a": 2')
    assert folder.history()["step"].tolist() == [0]


def test_a_line_that_was_cut_off_costs_the_next_one_nothing(folder):
    folder.append({"step": 0, "a": 1.0})
    with (folder.path / "history.jsonl").open("a") as file:
        file.write('{"step": 1, "a": 2')
    folder.append({"step": 1, "a": 2.0})
    folder.append({"step": 2, "a": 3.0})
    assert folder.history()["a"].tolist() == [1.0, 2.0, 3.0]


def test_the_logger_writes_what_it_is_given_at_the_step_it_is_told(folder):
    logger = History(folder)
    logger.log_metrics({"a": 1.0}, step=7)
    logger.log_hyperparams({"b": 2})
    assert folder.history().to_dict("records") == [{"step": 7, "a": 1.0}]
    assert logger.version == "run"
