from __future__ import annotations

import io

from flows.terminal import LineSplitter, StepView


def split(*chunks: bytes) -> list[tuple[str, str]]:
    seen: list[tuple[str, str]] = []
    splitter = LineSplitter(lambda text: seen.append(("line", text)), lambda text: seen.append(("update", text)))
    for chunk in chunks:
        splitter.feed(chunk)
    splitter.close()
    return seen


def test_lines_and_updates_are_told_apart():
    assert split(b"a\n", b"1%\r2%\r", b"3%\nend") == [
        ("line", "a"),
        ("update", "1%"),
        ("update", "2%"),
        ("line", "3%"),
        ("line", "end"),
    ]


def test_a_windows_line_end_in_two_chunks_is_one_line():
    assert split(b"a\r", b"\nb\r\n") == [("line", "a"), ("line", "b")]


def test_characters_cut_by_a_chunk_and_colours():
    assert split(b"\x1b[31m\xc3", b"\xa4\x1b[0m\n") == [("line", "\u00e4")]


def test_a_progress_bar_does_not_flood():
    stream = io.StringIO()
    view = StepView(stream, seconds=3600)
    for percent in range(1000):
        view.update(f"{percent}")
    view.line("end")
    assert stream.getvalue() == "  end\n"


def test_progress_is_shown_when_its_time_has_come():
    stream = io.StringIO()
    view = StepView(stream, seconds=0)
    view.update("50 %")
    assert stream.getvalue() == "  50 %\n"


def test_on_a_terminal_the_next_line_replaces_the_bar():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    view = StepView(stream, seconds=0)
    view.update("50 %")
    view.line("end")
    assert stream.getvalue() == "  50 %\r\x1b[K  end\n"
