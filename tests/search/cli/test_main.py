"""The command line: quick, helpful, and without tracebacks."""

import argparse
import re
import signal

import pytest
import toy

from search.cli.arguments import parse_count, parse_limit, parse_number
from search.cli.main import COMMANDS, build_parser, main
from search.cli.running import answer_interrupts


@pytest.mark.parametrize(("text", "value"), [("15M", 15e6), ("1.5k", 1500), ("4", 4), ("2e6", 2e6), ("1 B", 1e9)])
def test_numbers(text, value):
    assert parse_number(text) == value
    assert parse_limit(text) == (value, False)


@pytest.mark.parametrize("text", ["", "many", "-3", "0", "1..2", "4 apples"])
def test_what_is_no_number(text):
    with pytest.raises(argparse.ArgumentTypeError):
        parse_number(text)


def test_shares_and_counts():
    assert parse_limit("50%") == (0.5, True)
    assert parse_count("1k") == 1000
    with pytest.raises(argparse.ArgumentTypeError):
        parse_count("1.5")


def test_a_precision_that_no_runtime_has_is_refused_with_the_reason(capsys):
    for command in (["export", "DIR", "TO"], ["profile", "DIR"]):
        with pytest.raises(SystemExit):
            main([*command, "--precision", "bf16"])
        assert "'bf16': onnxruntime multiplies no matrices in bfloat16 on a CPU" in capsys.readouterr().err
        with pytest.raises(SystemExit):
            main([*command, "--precision", "int8+0"])
        assert "--precision: 'int8+0': + says how many maps stay in float" in capsys.readouterr().err
        with pytest.raises(SystemExit):
            main([*command, "--precision", "int9"])
        assert "--precision: unknown 'int9'. Did you mean 'int8'? Known: fp32" in capsys.readouterr().err
        assert build_parser().parse_args([*command, "--precision", "int8+4"]).precision == "int8+4"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example(name, capsys):
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    assert re.search(rf"example: stillhouse {name}( |$)", " ".join(capsys.readouterr().out.split()))


def test_a_mistyped_command_is_told_the_nearest(capsys):
    assert main(["fornt", "studies/mine"]) == 2
    assert "unknown command 'fornt'. Did you mean 'front'?" in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert re.fullmatch(r"stillhouse (\d+\.\d+\.\d+.*|from a checkout, not installed)\n", capsys.readouterr().out)


def test_a_spec_with_problems(tmp_path, capsys):
    spec = tmp_path / "bad.toml"
    spec.write_text(toy.SPEC.replace("trials = 8", "trials = 0").replace('"invented"', '"./nosuch"'))
    assert main(["check", str(spec)]) == 2
    error = capsys.readouterr().err
    assert "2 problems" in error and "[budget] trials" in error and "Traceback" not in error


def test_check_explains(capsys):
    assert main(["check", "--explain"]) == 0
    assert "train_tokens" in capsys.readouterr().out


def test_folders_that_are_no_studies(tmp_path, capsys):
    for command in (["front"], ["best"], ["resume"], ["report"]):
        assert main([*command, str(tmp_path / "nosuch")]) == 1
        assert "nosuch" in capsys.readouterr().err


def test_a_run_in_the_background_answers_interrupts():
    """A shell without job control has SIGINT ignored in what it starts with `&`."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        answer_interrupts()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, own := lambda number, frame: None)
        answer_interrupts()
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)
