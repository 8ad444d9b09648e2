"""Help, examples, and what the README says of the commands."""

import re
import shlex
from pathlib import Path

import click
import pytest
from cli_checks import picture
from click.testing import CliRunner

from rvcnn.cli import COMMANDS, app

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ENVIRONMENT = re.compile(r"""["'](RVCNN_[A-Z_]+)["']""")


def parse(line: str) -> None:
    """Parse a command line of rvcnn as the shell would hand it over, without running it."""
    program, *args = shlex.split(line, comments=True)
    assert program == "rvcnn", line
    context = app.make_context("rvcnn", args)
    name, command, rest = app.resolve_command(context, [*context._protected_args, *context.args])
    try:
        command.make_context(name, rest, parent=context)
    except click.exceptions.Exit as end:  # -h
        assert end.exit_code == 0


def readme_lines() -> list[str]:
    """Every line of the README's shell blocks, and every command named in its text."""
    blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```", README, re.M | re.S))
    parts = [part.strip() for line in blocks.splitlines() for part in re.split(r"&&|\|", line)]
    return [part for part in parts if part.startswith("rvcnn ")]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_an_example_that_parses(name):
    for flag in ("-h", "--help"):
        result = CliRunner().invoke(app, [name, flag])
        assert result.exit_code == 0
        *_, title, example = result.stdout.rstrip().splitlines()
        assert title.strip() == "Example:"
        assert example.split()[:2] == ["rvcnn", name]
        parse(example)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help(name):
    command = app.get_command(None, name)
    assert command.help
    for option in command.params:
        assert isinstance(option, click.Argument) or option.help, option.name


def test_list_of_commands_says_what_each_does():
    lines = CliRunner().invoke(app, ["--help"]).stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in lines[: len(COMMANDS)]] == list(COMMANDS)
    assert not any(line.endswith("...") for line in lines)


def test_no_other_command_exists():
    result = CliRunner().invoke(app, ["cluster"])
    assert result.exit_code == 2
    assert "No such command 'cluster'" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("line", readme_lines())
def test_readme_examples_parse(line):
    parse(line)


def test_readme_examples_were_found():
    assert len(readme_lines()) > 10


@pytest.mark.parametrize("name", COMMANDS)
def test_readme_documents(name):
    assert re.search(rf"^\| `rvcnn {name}\b", README, re.M)


def test_readme_documents_no_other_command():
    assert set(re.findall(r"^\| `rvcnn (\w+)", README, re.M)) == set(COMMANDS)


def test_readme_documents_the_environment_variables():
    sources = [*ROOT.glob("rvcnn/**/*.py"), *ROOT.glob("kernels/*.py"), *ROOT.glob("cli/*.py")]
    used = {name for file in sources for name in ENVIRONMENT.findall(file.read_text("utf-8"))}
    documented = set(re.findall(r"^\| `(RVCNN_\w+)", README, re.M))
    assert documented == used | {"RVCNN_TEST_DATA"}


@pytest.mark.usefixtures("photos")
def test_readme_python_runs():
    block, *others = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)
    for other in others:  # of files that are not here
        compile(other, "README.md", "exec")
    picture(1).save("a.jpg")
    picture(2).save("b.jpg")
    names = {"paths": ["a.jpg", "b.jpg"]}
    exec(block, names)
    assert names["x"].shape == (2, 512)
    assert (names["row"] == names["x"][1]).all()
    assert names["found"].ids[0][0] in ("a.png", "b.jpg")
    assert "a.png" in names["some"].ids[0] and "b.jpg" not in names["some"].ids[0]


def test_readme_exit_codes():
    assert re.findall(r"^\| (\d+) \|", README, re.M) == ["0", "1", "2", "3", "4", "130"]


def test_version():
    result = CliRunner().invoke(app, ["--version"])
    assert re.fullmatch(r"rvcnn \d+\.\d+\.\d+\n", result.stdout)
