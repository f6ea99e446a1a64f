import gc
import os
import subprocess
import sys
import textwrap

from earlyexit.common.quiet import quiet

# In a process of its own: pytest puts something else in the place of stdout.
SAY = """
import os, sys
from earlyexit.common.quiet import quiet

def say(what):
    print(what, "from Python")
    print(what, "on stderr", file=sys.stderr)
    sys.stdout.flush()
    os.write(1, f"{what} from C\\n".encode())
    os.write(2, f"{what} from C on stderr\\n".encode())
"""


def run(code: str) -> tuple[int, list[str], list[str]]:
    script = SAY + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


def said(*what: str) -> tuple[list[str], list[str]]:
    out = [f"{word} {where}" for word in what for where in ("from Python", "from C")]
    err = [f"{word} {where}" for word in what for where in ("on stderr", "from C on stderr")]
    return out, err


def test_what_is_said_inside_is_held_back() -> None:
    code = """
    say("before")
    with quiet():
        say("inside")
        with quiet():
            say("deeper")
        say("inside again")
    say("after")
    """
    assert run(code) == (0, *said("before", "after"))


def test_what_was_said_is_shown_where_it_fails() -> None:
    code = """
    try:
        with quiet():
            say("inside")
            raise ValueError
    except ValueError:
        say("after")
    """
    status, out, err = run(code)
    assert (status, out) == (0, said("after")[0])
    assert sorted(err) == sorted([*said("inside")[0], *said("inside")[1], *said("after")[1]])


def test_no_file_stays_open() -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    gc.collect()  # closes what other tests left open
    before = count()
    for _ in range(5):
        with quiet():
            pass
    assert count() == before
