import pytest

from earlyexit.emulation.compiler import RAM_BYTES, build
from tests.emulation import standin

EMPTY = "int main(void) { for (;;) { } }\n"


def test_the_same_sources_give_the_same_bytes() -> None:
    assert build(standin.SOURCES).content == build(dict(reversed(standin.SOURCES.items()))).content


def test_says_what_takes_flash_and_ram() -> None:
    table = "const int table[500] = {1}; int used(int i) { return table[i]; } static int many[250] = {3};"
    other = "int *moved(int i) { static char big[3000]; big[i]++; many[i]++; return many + big[0]; }"
    image = build({"a.c": table + other, "main.c": EMPTY}, roots=["used", "moved"])
    assert image.ram("a.c") == 3000 + 1000 == image.ram()
    assert 2000 + 1000 < image.flash("a.c") < 2000 + 1000 + 100
    assert image.code("a.c") == image.flash("a.c") - 3000
    assert image.files == ["a.c", "main.c", "startup.c"]
    assert image.flash() == sum(image.flash(file) for file in image.files)
    loaded = sum(map(len, image.loads.values()))
    assert image.flash() <= loaded <= image.flash() + 64  # alignment


def test_leaves_out_what_nothing_calls() -> None:
    source = "int used(void) { return 1; } int unused(void) { return 2; }"
    assert "unused" not in build({"a.c": source, "main.c": EMPTY}, roots=["used"]).symbols


def test_memories_have_the_size_that_is_asked_for() -> None:
    image = build({"main.c": EMPTY}, roots=[], flash=4096, ram=8192)
    assert image.symbol("stack_top").address - image.symbol("ram_origin").address == image.ram_bytes == 8192
    with pytest.raises(ValueError, match=r"bytes more than the 300 of FLASH"):
        build({"main.c": EMPTY}, roots=["memcpy", "memmove", "memset"], flash=300)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("char a[60000], b[9000]; char *f(void) { return a[0] ? a : b; }", r"[\d,]+ bytes more than the 68,608 of RAM; "
         r"the largest parts: a of f.c \(60,000\), b of f.c \(9,000\)"),
        ("const char a[262000] = {1}; int f(int i) { return a[i]; }", r"[\d,]+ bytes more than the 262,144 of FLASH; "
         r"the largest parts: a of f.c \(262,000\)"),
        ("char a[67000]; char *f(void) { return a; }", "the 68,608 of RAM"),  # 2 KiB are the stack's
    ],
)  # fmt: skip
def test_says_what_is_too_large(source: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build({"f.c": source, "main.c": EMPTY}, roots=["f"])


def test_says_by_how_much() -> None:
    def source(size: int) -> dict[str, str]:
        return {"f.c": f"char a[{size}]; char *f(void) {{ return a; }}", "main.c": EMPTY}

    room = RAM_BYTES - 2048
    build(source(room), roots=["f"])
    with pytest.raises(ValueError, match="needs 400 bytes more"):
        build(source(room + 400), roots=["f"])


def test_passes_on_what_the_compiler_says() -> None:
    with pytest.raises(ValueError, match=r"zig cc failed:\nbroken.c:1:"):
        build({"broken.c": "int f(void) { return g(); }", "main.c": EMPTY}, roots=["f"])
    with pytest.raises(ValueError, match="undefined symbol: missing"):
        build({"f.c": "int missing(void); int f(void) { return missing(); }", "main.c": EMPTY}, roots=["f"])


def test_floating_point_is_refused() -> None:
    with pytest.raises(ValueError, match="undefined symbol: __aeabi_fmul"):
        build({"f.c": "float f(float x) { return 3 * x; }", "main.c": EMPTY}, roots=["f"])


def test_macros_reach_the_compiler() -> None:
    source = "#ifndef NAME\n#error no name\n#endif\nint f(void) { return NAME; }"
    assert build({"f.c": source, "main.c": EMPTY}, roots=["f"], defines=["NAME=3"]).code("f.c") <= 4
