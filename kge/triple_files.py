"""Tab-separated files of triples and of texts, with errors that name the file and the line."""

from __future__ import annotations

from pathlib import Path


class MalformedFile(ValueError):
    """A line of a file is not what it must be; the message begins with the file and the line."""

    def __init__(self, path: Path, line: int, problem: str) -> None:
        super().__init__(f"{path}, line {line}: {problem}")
        self.path, self.line = path, line


def read_triples(path: Path) -> list[tuple[str, str, str]]:
    """Labels (head, relation, tail) of a UTF-8 file without header, in the order of its lines.

    Raises:
        FileNotFoundError: there is no such file.
        MalformedFile: a line is not UTF-8, or is not three labels separated by tabs.
        ValueError: the file holds no triples.
    """
    triples = []
    for number, line in enumerate(_lines(path), start=1):
        fields = line.split("\t")
        if len(fields) != 3 or not all(fields):
            raise MalformedFile(
                path,
                number,
                f"expected head, relation and tail separated by tabs, got {_shown(line)}",
            )
        triples.append((fields[0], fields[1], fields[2]))
    if not triples:
        raise ValueError(f"{path} holds no triples: each of the three splits needs some")
    return triples


def read_texts(path: Path, kind: str) -> dict[str, tuple[str, str]]:
    """Name and description (either may be empty) by label, from lines of one to three fields.

    Args:
        path: UTF-8 file without header: label, name and, if any, description.
        kind: what the labels stand for, for messages.

    Raises:
        MalformedFile: a line is not UTF-8, has no label or too many fields, or repeats a label.
    """
    texts: dict[str, tuple[str, str]] = {}
    for number, line in enumerate(_lines(path), start=1):
        label, *fields = line.split("\t")
        if not label or len(fields) > 2:
            raise MalformedFile(
                path,
                number,
                f"expected {kind}, name and description separated by tabs, got {_shown(line)}",
            )
        if label in texts:
            raise MalformedFile(path, number, f"{kind} {label!r} is named a second time")
        name, description = (*fields, "", "")[:2]
        texts[label] = name.strip(), description.strip()
    return texts


def _lines(path: Path) -> list[str]:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise MalformedFile(path, number, f"not UTF-8 ({error.reason})") from None
    # Not splitlines: labels and texts may hold other characters that count as line ends there.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _shown(line: str) -> str:
    return repr(line if len(line) <= 80 else line[:77] + "...")
