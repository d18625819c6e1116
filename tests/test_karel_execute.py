"""`progsem execute`: its output against recorded executions, and what it says of bad input."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from karel_cases import GOLDEN, KEPT

from progsem.errors import UserError
from progsem.languages.karel.execute import STEP_LIMIT, main

WORLD = ["####", "#>.#", "####"]


def line(program="def run() { move() }", rows=WORLD):
    return json.dumps({"program": program, "worlds": [{"input": rows}]})


def command(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "progsem", "execute", *arguments], capture_output=True, **options)


def expected(path):
    keys = ("output", "hero_out", "markers_out", "trace")
    cases = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [{"worlds": [{key: world[key] for key in keys} for world in case["worlds"]]} for case in cases]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_golden(path, capsys):
    main([str(path)])
    assert [json.loads(row) for row in capsys.readouterr().out.splitlines()] == expected(path)


def test_a_cell_holds_any_number_of_markers(tmp_path, capsys):
    """Drawn as `+` above nine; the exact number is in `markers_out` and in the trace."""
    path = tmp_path / "a.jsonl"
    bodies = [
        "repeat (12) { put_marker() }; repeat (10) { pick_marker() }",
        "repeat (19) { repeat (19) { put_marker() } }",
    ]
    path.write_text("\n".join(line(f"def run() {{ {body}; move() }}") for body in bodies), encoding="utf-8")
    main([str(path)])
    two, many = (json.loads(row)["worlds"][0] for row in capsys.readouterr().out.splitlines())
    assert two["output"] == ["####", "#2>#", "####"] and two["markers_out"] == [[1, 1]] * 2
    assert many["output"] == ["####", "#+>#", "####"] and many["markers_out"] == [[1, 1]] * 19 * 19
    assert many["trace"][-2] == ["put_marker", 1, 1, "E", 19 * 19]


def test_golden_from_standard_input():
    path = KEPT / "loops.jsonl"
    done = command("-", input=path.read_bytes())
    assert done.returncode == 0 and done.stderr == b""
    assert [json.loads(row) for row in done.stdout.splitlines()] == expected(path)


def test_empty_lines_and_other_keys(tmp_path, capsys):
    path = tmp_path / "a.jsonl"
    worlds = [{"input": WORLD, "note": 1}, {"input": ["###", "#^#", "###"]}]
    task = json.dumps({"program": "def run() { turn_left(); put_marker() }", "worlds": worlds, "id": 3})
    path.write_text(
        f"\n{task}\r\n  \n" + json.dumps({"program": "def run() { move() }", "worlds": []}), encoding="utf-8"
    )
    main([str(path)])
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["worlds"][0] == {
        "output": ["####", "#^.#", "####"],
        "hero_out": [1, 1, "N"],
        "markers_out": [[1, 1]],
        "trace": [["turn_left", 1, 1, "N", 0], ["put_marker", 1, 1, "N", 1]],
    }
    assert first["worlds"][1]["hero_out"] == [1, 1, "W"]
    assert second == {"worlds": []}


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", ":2: column 2: not JSON (Expecting property name enclosed in double quotes)"),
        ("[" * 100_000, ":2: not JSON that can be read"),
        ("1" * 5000, ":2: not JSON that can be read"),
        ("[]", ":2: given a list, expected an object with 'program'"),
        ("null", ":2: given null, expected an object with 'program'"),
        ("{}", ":2: 'program' is missing; expected text"),
        ('{"program": 1, "worlds": []}', ":2: 'program' is a number, expected text"),
        ('{"program": "def run() { move() }"}', ":2: 'worlds' is missing; expected a list"),
        ('{"program": "def run() { move() }", "worlds": {}}', ":2: 'worlds' is an object, expected a list"),
        ('{"program": "def run() { move() }", "worlds": [5]}', ":2: worlds[0]: given a number, expected an object"),
        ('{"program": "def run() { move() }", "worlds": [{}]}', ":2: worlds[0]: 'input' is missing; expected a list"),
        (
            '{"program": "def run() { move() }", "worlds": [{"input": "###"}]}',
            ":2: worlds[0]: 'input' is text, expected a list",
        ),
        (line(program="def run() { mvoe() }"), ":2: program, line 1, column 13: given 'mvoe', expected a statement ("),
        (line(rows=["####", "#.?#", "####"]), ":2: worlds[0].input, row 2, column 3: given '?', expected # (wall)"),
        (line(rows=["####", "#..#", "####"]), ":2: worlds[0].input, given a world without a robot"),
        (
            line(program="def run() { while (no_markers_present()) { turn_left() } }"),
            ":2: worlds[0]: the program did not halt within",
        ),
    ],
    ids=lambda value: value[:20],  # some texts are very long
)
def test_bad_lines(text, message, tmp_path, capsys):
    path = tmp_path / "bad.jsonl"
    path.write_text(f"{line()}\n{text}\n{line()}\n", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        main([str(path)])
    assert str(caught.value).startswith(f"{path}{message}")
    assert "\n" not in str(caught.value)
    assert len(capsys.readouterr().out.splitlines()) == 1  # the good line before it


def test_step_limit_is_named(monkeypatch):
    bad = line(program="def run() { while (no_markers_present()) { turn_left() } }").encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bad), encoding="utf-8"))
    with pytest.raises(UserError, match=f"standard input:1: .* {STEP_LIMIT} steps"):
        main(["-"])


def test_bad_files(tmp_path):
    binary = tmp_path / "binary"
    binary.write_bytes(b"\x89PNG\r\n\x1a\n")
    for path, message in (
        (tmp_path / "none", "cannot be read (No such file or directory)"),
        (tmp_path, "cannot be read (Is a directory)"),
        (binary, ":1: byte 1 is not UTF-8; expected JSON text"),
        ("a\0b", "cannot be read (embedded null byte)"),
    ):
        with pytest.raises(UserError) as caught:
            main([str(path)])
        assert message in str(caught.value) and str(path) in str(caught.value)


def test_status_and_message_of_the_command():
    bad = f"{line()}\n{line(program='def run() { mvoe() }')}\n".encode()
    done = command("-", input=bad)
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 1
    (message,) = done.stderr.decode().splitlines()
    assert "standard input:2: program, line 1, column 13: given 'mvoe', expected a statement" in message


def test_lines_come_out_one_by_one():
    arguments = [sys.executable, "-m", "progsem", "execute", "-"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        for _ in range(2):
            process.stdin.write(f"{line()}\n".encode())
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["worlds"][0]["hero_out"] == [2, 1, "E"]
        process.stdin.close()
    assert process.returncode == 0


def test_a_closed_pipe_is_no_error():
    text = f"{line()}\n" * 5000
    arguments = [sys.executable, "-m", "progsem", "execute", "-"]
    streams = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    with subprocess.Popen(arguments, **streams) as process:
        process.stdout.close()
        try:
            process.stdin.write(text.encode())
            process.stdin.close()
        except BrokenPipeError:
            process.stdin = None
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_line():
    arguments = [sys.executable, "-m", "progsem", "execute", "-"]
    with open("/dev/full", "w", encoding="utf-8") as full:
        answer = subprocess.run(arguments, input=line(), stdout=full, stderr=subprocess.PIPE, encoding="utf-8")
    assert answer.returncode == 2
    assert (
        answer.stderr
        == "progsem: standard output: cannot be written (No space left on device); make room, and run again\n"
    )
