"""The commands that show a study: what they print, write and refuse."""

import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from fake_studies import finished_row, random_rows, trials_columns, write_part, write_study

from search.cli.main import main
from spaces.records.columns import profiles_columns
from spaces.records.state import RunState
from spaces.values import to_json

TODAY = datetime.now(UTC).isoformat()


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Three students on the front and one that is beaten."""
    points = {0: (0.5, (2, 128)), 1: (0.8, (4, 256)), 2: (0.95, (6, 384)), 3: (0.4, (4, 256))}
    return write_study(tmp_path / "study", [finished_row(t, q, shape) for t, (q, shape) in points.items()])


def printed(capsys, *arguments: object) -> str:
    assert main([str(each) for each in arguments]) == 0
    return capsys.readouterr().out


def test_front_for_scripts(study: Path, capsys, tmp_path: Path) -> None:
    rows = json.loads(printed(capsys, "front", study, "--json"))
    assert [row["trial"] for row in rows] == [0, 1, 2] and rows[1]["architecture"] == "4x256"
    text = printed(capsys, "front", study, "--csv")
    assert text.splitlines()[0].startswith("trial,") and len(text.splitlines()) == 4
    main(["front", str(study), "--parquet", str(tmp_path / "out" / "front.parquet")])
    assert pd.read_parquet(tmp_path / "out" / "front.parquet")["trial"].tolist() == [0, 1, 2]
    rows = json.loads(printed(capsys, "front", study, "--json", "--objectives", "quality"))
    assert [row["trial"] for row in rows] == [2]


def test_best_says_why_who_is_next_and_what_is_given_up(study: Path, capsys) -> None:
    text = printed(capsys, "best", study, "--max-parameters", "15M")
    assert "trial 1: 4x256 by mha, the best quality among the 3 of 4" in text
    assert "runner-up: trial 0, 2x128 by mha: 0.300 less quality" in text and " fewer parameters" in text
    assert "quality 0.800 (95 % interval 0.6" in text and "moves quality is unknown" in text
    assert "package: 0.766 accuracy (probe, layer 4), teacher 0.820, untrained 0.550: 80 % (" in text
    assert f"stillhouse export {study} my-student --trial 1" in text
    found = json.loads(printed(capsys, "best", study, "--knee", "--json"))
    assert found["why"].startswith("the knee of the front") and found["runner_up"]["trial"] != found["trial"]
    difference = found["runner_up"]["parameters"] - found["parameters"]
    assert found["runner_up_minus_pick"]["parameters"] == difference
    text = printed(capsys, "best", study, "--knee", "--max-parameters", "50%")
    assert "trial 0" in text or "trial 1" in text
    assert main(["best", str(study), "--max-parameters", "1M"]) == 1
    assert "the nearest is trial 0" in capsys.readouterr().err


def test_status_and_ls_say_where_studies_stand(study: Path, tmp_path: Path, capsys) -> None:
    state = RunState("preparing", "[2/5] corpus and tasks: docs", socket.gethostname(), os.getpid(), TODAY, TODAY)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "state.json").write_text(to_json(state))
    text = printed(capsys, "status", tmp_path / "new")
    assert "preparing: [2/5] corpus and tasks: docs" in text and f"process {os.getpid()}" in text
    (tmp_path / "new" / "state.json").write_text(to_json(replace(state, phase="stopped")))
    text = printed(capsys, "status", tmp_path / "new")  # stopped before it had a spec of its own
    assert f"next: stillhouse run SPEC {tmp_path / 'new'}" in text
    (tmp_path / "new" / "state.json").write_text(to_json(state))
    confirming = "stopped: 4 finished. To go on: stillhouse confirm somewhere"
    (study / "state.json").write_text(to_json(replace(state, phase="stopped", line=confirming)))
    text = printed(capsys, "status", study)
    assert confirming in text and "next:" not in text
    (study / "state.json").unlink()
    text = printed(capsys, "status", study)
    assert "4 trials ended, 40 planned" in text and "the knee is" in text
    text = printed(capsys, "ls", tmp_path)
    assert "preparing" in text and "no run known" in text and "4/40" in text
    assert main(["ls", str(tmp_path / "new" / "nothing")]) == 1 and "no study" in capsys.readouterr().err
    assert main(["status", str(tmp_path / "nowhere")]) == 1 and "does not exist yet" in capsys.readouterr().err


def test_stop_interrupts_the_process_of_a_run_and_waits(study: Path, capsys) -> None:
    # Started in the background, the tests ignore SIGINT, and so would what they start.
    code = (
        "import signal, sys, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try: print(flush=True), time.sleep(60)\nexcept KeyboardInterrupt: sys.exit(7)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stdout.readline()  # it waits for the interruption
        since = datetime.now(UTC).isoformat()
        state = RunState("searching", "", socket.gethostname(), running.pid, since, since)
        (study / "state.json").write_text(to_json(state))
        threading.Thread(target=running.wait).start()  # what a shell does for its jobs
        text = printed(capsys, "stop", study)
        assert running.wait(10) == 7 and f"stillhouse resume {study}" in text
    assert "nothing runs here" in printed(capsys, "stop", study)
    (study / "state.json").write_text(to_json(replace(state, host="elsewhere")))
    assert main(["stop", str(study)]) == 1 and "on elsewhere: stop it there" in capsys.readouterr().err


def test_compare_writes_one_page_and_warns(study: Path, tmp_path: Path, capsys) -> None:
    other = write_study(tmp_path / "other", random_rows(20), train_tokens=7, name="other")
    assert main(["compare", str(study), str(other), "--out", str(tmp_path / "both.html")]) == 0
    assert "tokens per trial" in capsys.readouterr().err
    assert (tmp_path / "both.html").read_text().startswith("<!DOCTYPE html>")
    rows = json.loads(printed(capsys, "compare", study, other, "--json"))
    assert [row["study"] for row in rows] == ["quick", "other"] and rows[0]["knee_trial"] in (0, 1, 2)
    assert rows[0]["on_front"] == 3 and 0 < rows[0]["hypervolume"] < 1
    assert main(["compare", str(study)]) == 2


def profile_rows(name: str, latencies: dict[int, float]) -> list[dict]:
    setting = {"device": "cpu", "runtime": "onnx", "threads": 2, "batch_size": 1, "sequence_length": 64}
    return [
        {**setting, "profile": name, "trial": trial, "latency_p50_ms": ms, "hardware": "Some phone"}
        for trial, ms in latencies.items()
    ]


def test_the_front_of_another_device(study: Path, capsys) -> None:
    assert main(["front", str(study), "--profile", "phone"]) == 1
    assert "To measure one: stillhouse profile" in capsys.readouterr().err
    rows = profile_rows("phone-1", {-1: 100.0, 0: 9.0, 1: 4.0, 2: 50.0})
    write_part(study / "profiles", "part-00000.parquet", profiles_columns(), rows)
    command = ("front", study, "--objectives", "quality", "latency_ms", "--json", "--profile")
    found = json.loads(printed(capsys, *command, "phone"))
    assert [(row["trial"], row["latency_p50_ms"]) for row in found] == [(1, 4.0), (2, 50.0)]
    assert "Some phone, onnx" in printed(capsys, "front", study, "--profile", "phone")
    assert "25.0 times the teacher's speed" in printed(
        capsys, "best", study, "--max-latency-ms", "5", "--profile", "phone"
    )
    write_part(study / "profiles", "part-00001.parquet", profiles_columns(), profile_rows("phone-2", {0: 1.0}))
    assert main(["front", str(study), "--profile", "phone"]) == 2
    assert "Known: phone-1, phone-2" in capsys.readouterr().err


def test_any_tool_reads_the_parquet(study: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    loaded = load_dataset(
        "parquet", data_files=str(study / "trials" / "*.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert loaded.num_rows == 4 and sorted(loaded["trial"]) == [0, 1, 2, 3]
    assert set(loaded.column_names) == {column.name for column in trials_columns(["package", "pairs"])}
