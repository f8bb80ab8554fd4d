#!/usr/bin/env python3
"""Break the contracts in many small ways and count how many of the breaks the tests notice.

    python scripts/mutants.py                 Tally, Vault and Market; writes contracts/mutants.md
    python scripts/mutants.py Vault           only that file's figures and survivors are renewed
    python scripts/mutants.py Vault --every 3  one mutant in three is tried, for an estimate
    python scripts/mutants.py Vault --again    tries what survived once more, by newer tests
    python scripts/mutants.py Vault --list    shows the mutants and runs nothing

A mutant is one token or statement changed. It is killed when it compiles and a unit or fuzz test
fails. One that survives and compiles, as deployed, to the very bytes of the original is equivalent:
no test could tell. The other survivors need a reason in contracts/mutants.toml; without one, or
with fewer than nine in ten killed, the exit code is 1. Invariant tests stay out: they are slow and
see only what they were made to see.

Works in a copy of contracts/ in a temporary folder, one forge at a time. A mutant first meets the
unit tests of its own source, for which forge compiles a few files only; if it lives, the snapshots
of gas and the deployment, then all tests.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
CONTRACTS: Final = ROOT / "contracts"
REASONS: Final = CONTRACTS / "mutants.toml"
RESULTS: Final = CONTRACTS / "mutants.json"
REPORT: Final = CONTRACTS / "mutants.md"
DEFAULT: Final = ("Tally", "Vault", "Market")
KILLED_MIN: Final = 0.9
TEST_S_MAX: Final = 900  # only what loops for ever takes so long, on a busy machine too
TESTS: Final = (
    "test", "--fail-fast", "--no-match-path", "test/{invariant,symbolic}/**",
    "--no-match-contract", "SettleGas",
    "--no-match-test", "test_codeSize",  # that is the optimizer's doing, which is off
)  # fmt: skip
AS_BUILT: Final = ("test", "--match-contract", "Gas|DeployTest")
"""With the optimizer, ordinary linking and the snapshots of gas: what these alone see."""
OWN_TESTS: Final[Mapping[str, str]] = {"Tally": "Market", "Judge": "Market", "Records": "Market"}
"""Whose unit tests a source meets first, where they are not of its own name."""
DOES_NOT_COMPILE: Final = "Compiler run failed"
QUICK: Final = {
    "FOUNDRY_DYNAMIC_TEST_LINKING": "true",
    "FOUNDRY_DENY": "never",  # an unused variable is no reason to refuse a mutant
    "FOUNDRY_OPTIMIZER": "false",
    "FOUNDRY_ISOLATE": "false",
    "FOUNDRY_FUZZ_RUNS": "32",
    "FOUNDRY_GAS_LIMIT": "30000000000",  # what loops for ever ends soon
    "FORGE_SNAPSHOT_CHECK": "false",
}

OPERATORS: Final[Mapping[str, Sequence[str]]] = {
    "+": ("-",), "-": ("+",), "*": ("/",), "/": ("*",), "%": ("*",),
    "<": ("<=", ">="), "<=": ("<", ">"), ">": (">=", "<="), ">=": (">", "<"),
    "==": ("!=",), "!=": ("==",), "&&": ("||",), "||": ("&&",), "!": ("",),
    "<<": (">>",), ">>": ("<<",), "|": ("&",), "&": ("|",),
    "++": ("--",), "--": ("++",), "+=": ("-=",), "-=": ("+=",),
}  # fmt: skip
TOKEN: Final = re.compile(
    r"=>|<<=|>>=|\+\+|--|[-+*/%|&^]=|<=|>=|==|!=|&&|\|\||<<|>>|[-+*/%<>!=&|^]"
)
NUMBER: Final = re.compile(r"(?<![\w.])\d[\d_]*(?![\w.])")
TERNARY: Final = re.compile(r"\?\s*([^:;?]+?)\s*:\s*([^;?,{}]+?)(?=\s*[;,)])")
GUARD: Final = re.compile(r"\)\s[^;{}()]*?\b(nonReentrant|only[A-Z]\w*)\b")
CODE_BEGINS: Final = re.compile(r"^(abstract )?(contract|library) ", re.MULTILINE)
DECLARATION: Final = re.compile(
    r"(return|using|struct|enum|event|error|constructor|function|modifier|mapping|_)\b"
    r"|[\w.\[\]]+(\s+(memory|storage|calldata|public|private|internal|constant|immutable))*\s+\w+\s*(=[^=]|$)"
    r"|\((\s*,)*\s*[\w.\[\]]+(\s+(memory|storage|calldata))?\s+\w+\s*[,)]"
)


class Outcome(Enum):
    """What became of a mutant."""

    KILLED = "killed"
    INVALID = "does not compile"
    EQUIVALENT = "equivalent"
    SURVIVED = "survived"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: the text between two offsets of a source is replaced."""

    path: str
    start: int
    end: int
    text: str

    def apply(self, source: str) -> str:
        """Return the source with the change made."""
        return source[: self.start] + self.text + source[self.end :]

    def lines(self, source: str) -> tuple[int, str, str]:
        """Return the line's number, the whole lines that change, and what they become."""
        first = source.rfind("\n", 0, self.start) + 1
        last = source.find("\n", self.end)
        before = source[first:last]
        after = source[first : self.start] + self.text + source[self.end : last]
        return source.count("\n", 0, self.start) + 1, _squeezed(before), _squeezed(after)


def main() -> int:
    """Run the chosen files' mutants and write the report."""
    words = sys.argv[1:]
    every = int(words.pop(words.index("--every") + 1)) if "--every" in words else 1
    names = [word for word in words if not word.startswith("--")] or list(DEFAULT)
    paths = [_path_of(name) for name in names]
    if "--list" in words:
        for path in paths:
            source = (CONTRACTS / path).read_text()
            for mutant in mutants_of(path, source):
                print(path, *mutant.lines(source), sep=" | ")
        return 0
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    with tempfile.TemporaryDirectory(prefix="assay-mutants-") as folder:
        lab = Lab(Path(folder) / "contracts")
        for path in paths:
            earlier = results.get(path) if "--again" in words else None
            results[path] = (
                _run(lab, path, every) if earlier is None else _again(lab, path, earlier)
            )
            RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    return _report(results)


# --- making mutants -------------------------------------------------------------------------------


def mutants_of(path: str, source: str) -> list[Mutant]:
    """Return every mutant of a source, in its order, each different from the others."""
    code = _blanked(source)
    begin = CODE_BEGINS.search(code)
    assert begin, f"{path} has no contract and no library"
    found = [
        Mutant(path, start, end, text)
        for start, end, text in (
            *_operators(code), *_numbers(code), *_ternaries(code), *_conditions(code),
            *_guards(code), *_members(code), *_statements(code),
        )
        if start >= begin.start()
    ]  # fmt: skip
    distinct = {mutant.apply(source): mutant for mutant in found}
    return sorted(distinct.values(), key=lambda mutant: (mutant.start, mutant.end, mutant.text))


Change = tuple[int, int, str]


def _blanked(source: str) -> str:
    """Return the source with comments and strings as blanks, and every offset as it was."""
    return re.sub(
        r"//[^\n]*|/\*.*?\*/|\"[^\"\n]*\"",
        lambda found: re.sub(r"[^\n]", " ", found[0]),
        source,
        flags=re.DOTALL,
    )


def _operators(code: str) -> Iterator[Change]:
    for token in TOKEN.finditer(code):
        for other in OPERATORS.get(token[0], ()):
            yield token.start(), token.end(), other


def _numbers(code: str) -> Iterator[Change]:
    for number in NUMBER.finditer(code):
        yield number.start(), number.end(), str(int(number[0]) + 1)


def _ternaries(code: str) -> Iterator[Change]:
    for choice in TERNARY.finditer(code):
        yield choice.start(), choice.end(), f"? {choice[2]} : {choice[1]}"


def _conditions(code: str) -> Iterator[Change]:
    for word in re.finditer(r"\bif\s*(?=\()", code):
        end = _closing(code, word.end())
        for value in ("true", "false"):
            yield word.end() + 1, end, value


def _guards(code: str) -> Iterator[Change]:
    for header in re.finditer(r"\bfunction\b[^;{}]*\{", code):
        for guard in GUARD.finditer(header[0]):
            yield header.start() + guard.start(1), header.start() + guard.end(1), ""


def _members(code: str) -> Iterator[Change]:
    for name, members in _enums().items():
        for used in re.finditer(rf"\b{name}\.(\w+)", code):
            if used[1] in members:
                after = members[(members.index(used[1]) + 1) % len(members)]
                yield used.start(1), used.end(1), after


def _statements(code: str) -> Iterator[Change]:
    """Leave out each statement that declares nothing."""
    start = 0
    depth = 0
    for at, sign in enumerate(code):
        depth += (sign in "([") - (sign in ")]")
        if sign not in ";{}" or depth:
            continue
        text = code[start:at].strip()
        if sign == ";" and text and not DECLARATION.match(text):
            yield at - len(code[start:at].lstrip()), at + 1, ""
        start = at + 1


def _enums() -> dict[str, list[str]]:
    types = "\n".join(
        _blanked(p.read_text()) for p in sorted((CONTRACTS / "src/types").glob("*.sol"))
    )
    return {
        name: re.findall(r"\w+", body)
        for name, body in re.findall(r"enum (\w+) \{([^}]*)\}", types)
    }


def _closing(code: str, at: int) -> int:
    depth = 0
    for end in range(at, len(code)):
        depth += (code[end] == "(") - (code[end] == ")")
        if depth == 0:
            return end
    raise AssertionError("a parenthesis is never closed")


# --- trying them ----------------------------------------------------------------------------------


class Lab:
    """A copy of contracts/ in which sources are changed, built and tested."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.copytree(
            CONTRACTS,
            folder,
            symlinks=True,
            ignore=shutil.ignore_patterns("out", "cache", "node_modules"),
        )
        (folder / "node_modules").symlink_to((CONTRACTS / "node_modules").resolve())
        self._check(*TESTS)
        self._check(*AS_BUILT, quick=False)
        self._deployed = self._bytecode()

    def judge(self, mutant: Mutant) -> Outcome:
        """Put the mutant in place, see what the tests say, and put the original back."""
        where = self._folder / mutant.path
        source = where.read_text()
        where.write_text(mutant.apply(source))
        try:
            for tests, quick in ((_own_tests(mutant.path), True), (AS_BUILT, False), (TESTS, True)):
                done = self._forge(*tests, quick=quick)
                if DOES_NOT_COMPILE in done.stdout + done.stderr:
                    return Outcome.INVALID
                if done.returncode:
                    return Outcome.KILLED
            same = self._bytecode() == self._deployed
            return Outcome.EQUIVALENT if same else Outcome.SURVIVED
        finally:
            where.write_text(source)

    def _bytecode(self) -> dict[str, str]:
        """Return the code of everything in src/ as it would be deployed."""
        done = self._forge(
            "build", "--skip", "test", "--skip", "script", "--out", "cache/deployed/out",
            "--cache-path", "cache/deployed/cache", quick=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return {
            file.name: json.loads(file.read_text())["bytecode"]["object"]
            for file in sorted((self._folder / "cache/deployed/out").glob("*.sol/*.json"))
        }

    def _check(self, *command: str, quick: bool = True) -> None:
        done = self._forge(*command, quick=quick)
        if done.returncode:
            sys.exit(
                f"the contracts are not good before they are broken:\n{done.stdout}{done.stderr}"
            )

    def _forge(self, *command: str, quick: bool = True) -> subprocess.CompletedProcess[str]:
        settings = QUICK if quick else {"FOUNDRY_DENY": "never", "FORGE_SNAPSHOT_CHECK": "true"}
        environment = {**os.environ, **settings}
        words = [str(self._folder / "forge"), *command]
        try:
            return subprocess.run(
                words,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=TEST_S_MAX,
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(words, returncode=1, stdout="", stderr="too slow")


def _own_tests(path: str) -> tuple[str, ...]:
    """Return the command that runs the unit tests of one source."""
    name = Path(path).stem
    return ("test", "--fail-fast", "--match-path", f"test/unit/{OWN_TESTS.get(name, name)}*.t.sol")


def _run(lab: Lab, path: str, every: int) -> dict[str, object]:
    source = (CONTRACTS / path).read_text()
    mutants = mutants_of(path, source)[every // 2 :: every]
    counts = dict.fromkeys((outcome.value for outcome in Outcome), 0)
    survivors, started = [], time.monotonic()
    for number, mutant in enumerate(mutants, 1):
        outcome = lab.judge(mutant)
        counts[outcome.value] += 1
        line, before, after = mutant.lines(source)
        if outcome is Outcome.SURVIVED:
            survivors.append({"line": before, "becomes": after})
        took = time.monotonic() - started
        print(
            f"{number}/{len(mutants)} {took:5.0f} s {outcome.value:16} {path}:{line} {after}",
            flush=True,
        )
    return {"counts": counts, "survivors": survivors, "every": every}


def _again(lab: Lab, path: str, earlier: dict[str, Any]) -> dict[str, object]:
    """Judge the earlier survivors anew; those whose lines are no longer there have no say."""
    source = (CONTRACTS / path).read_text()
    counts, survivors = dict(earlier["counts"]), []
    by_lines = {mutant.lines(source)[1:]: mutant for mutant in mutants_of(path, source)}
    for one in earlier["survivors"]:
        counts[Outcome.SURVIVED.value] -= 1
        mutant = by_lines.get((one["line"], one["becomes"]))
        if mutant is None:
            continue
        outcome = lab.judge(mutant)
        counts[outcome.value] += 1
        print(f"{outcome.value:16} {path}: {one['line']} -> {one['becomes']}", flush=True)
        if outcome is Outcome.SURVIVED:
            survivors.append(one)
    return {"counts": counts, "survivors": survivors, "every": earlier["every"]}


# --- telling --------------------------------------------------------------------------------------


def _report(results: Mapping[str, dict[str, object]]) -> int:
    reasons = {
        (answer["file"], answer["line"], answer["becomes"]): answer["reason"]
        for answer in tomllib.loads(REASONS.read_text()).get("answers", ())
    }
    lines = [
        "# Mutants",
        "",
        "Written by `scripts/mutants.py` (`make mutants`), which says what a mutant is; the",
        "reasons are in `mutants.toml`. Equivalent mutants compile to the same bytes as the",
        "original and are not counted. Where one in several was tried, it stands there.",
        "",
        "| source | tried | mutants | killed | | survived | equivalent |",
        "|---|---|---|---|---|---|---|",
    ]
    bad = False
    unexplained = []
    listed = []
    for path, result in sorted(results.items()):
        counts, survivors = result["counts"], result["survivors"]
        assert isinstance(counts, dict)
        assert isinstance(survivors, list)
        killed, alive = counts[Outcome.KILLED.value], counts[Outcome.SURVIVED.value]
        share = killed / max(1, killed + alive)
        bad = bad or share < KILLED_MIN
        lines.append(
            f"| `{path}` | {_tried(result)} | {killed + alive} | {killed} | {share:.1%} | {alive} |"
            f" {counts[Outcome.EQUIVALENT.value]} |"
        )
        listed += ["", f"## Survivors of `{path}`", ""] if survivors else []
        for one in survivors:
            key = (Path(path).stem, one["line"], one["becomes"])
            reason = reasons.get(key)
            if not reason:
                unexplained.append(key)
            listed += [f"- `{one['line']}` → `{one['becomes']}`: {reason or 'not explained'}"]
    REPORT.write_text("\n".join([*lines, *listed]) + "\n")
    print("\n".join(lines[5:]))
    for key in unexplained:
        print("no reason in mutants.toml:", *key, sep="\n    ")
    return 1 if bad or unexplained else 0


def _tried(result: Mapping[str, object]) -> str:
    return "all" if result["every"] == 1 else f"one in {result['every']}"


def _path_of(name: str) -> str:
    found = sorted((CONTRACTS / "src").rglob(f"{name}.sol"))
    if len(found) != 1:
        sys.exit(f"no source, or several, named {name}.sol under contracts/src")
    return str(found[0].relative_to(CONTRACTS))


def _squeezed(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    sys.exit(main())
