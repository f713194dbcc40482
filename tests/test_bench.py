"""The bench's own arithmetic, on clocks that are made up: nothing here asserts a time."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import octensor as ot
import support
from octensor.bench import cases, child, command, mask, networks, operands, peers, report, run, side, timing
from octensor.bench.cases import Conv, Dynamic, Elementwise, Gemm, Lstm, Network, Pool
from octensor.cli import main

# --- timing -----------------------------------------------------------------------------------------------


class Clock:
    """Time passes only when a contender runs."""

    def __init__(self):
        self.now = 0.0
        self.log = []

    def __call__(self):
        return self.now

    def contender(self, name, *seconds):
        """Takes the given times in turn, the last for ever."""
        left = list(seconds)

        def call():
            self.log.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return call


def test_spread_of_samples():
    spread = timing.Spread.of([4.0, 1.0, 3.0, 2.0, 5.0])
    assert spread == timing.Spread(median=3.0, minimum=1.0, q1=2.0, q3=4.0)
    assert spread.noise == pytest.approx(2 / 3)
    assert timing.Spread.of([7.0]) == timing.Spread(7.0, 7.0, 7.0, 7.0)
    assert timing.Spread.of([7.0]).noise == 0


def test_geometric_mean():
    assert timing.geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    assert timing.geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
    assert math.isnan(timing.geometric_mean([]))


def test_ratios_are_taken_within_a_round():
    """A clock that halves in the second round changes both alike, and the ratio not at all."""
    assert timing.paired_ratio([2.0, 4.0, 2.0], [1.0, 2.0, 1.0]) == 2.0
    with pytest.raises(ValueError):
        timing.paired_ratio([1.0], [1.0, 2.0])


def test_calls_fill_the_target():
    clock = Clock()
    assert timing.calls_per_round(clock.contender("a", 0.001), clock, target=0.004) == 4
    assert timing.calls_per_round(clock.contender("a", 1.0), clock, target=0.004) == 1


def test_everybody_runs_in_every_round_and_in_turn():
    clock = Clock()
    contenders = {"a": clock.contender("a", 0.004), "b": clock.contender("b", 0.008)}
    watches = {name: timing.Stopwatch(call, clock, 0.004, 0.0) for name, call in contenders.items()}
    for watch in watches.values():
        watch.turn()
    seconds = timing.interleave({name: watch.turn for name, watch in watches.items()}, 3)
    assert seconds["a"] == pytest.approx([0.004] * 3)
    assert seconds["b"] == pytest.approx([0.008] * 3)
    measured = clock.log[-12:]  # one warm-up and one timed call each
    assert measured == ["a", "a", "b", "b", "b", "b", "a", "a", "a", "a", "b", "b"]


def test_warm_up_is_not_counted():
    clock = Clock()
    slow_start = clock.contender("a", *[0.001] * 5, 1.0, 0.001)  # five calls to count, then one slow
    assert timing.Stopwatch(slow_start, clock, 0.001, 0.0).turn() == pytest.approx(0.001)


# --- cases ------------------------------------------------------------------------------------------------


def test_tables_hold_distinct_cases():
    for group, table in cases.GROUPS.items():
        names = [case.name for case in table]
        assert len(names) == len(set(names)), group
        assert all(case.work > 0 for case in table), group
    assert len(cases.GROUPS["gemm"]) == 30


def test_work_counts_two_operations_to_a_multiply_add():
    assert Gemm(2, 3, 5).work == 60
    assert Conv(3, 64, 64, 56).work == 2 * 56 * 56 * 64 * 64 * 9
    assert Conv(3, 96, 96, 112, 2, 96).work == 2 * 56 * 56 * 96 * 9
    assert Elementwise("quantize", 1 << 20).work == 5 << 20
    assert Pool(64, 112).work == 64 * (112**2 + 56**2)


@pytest.mark.parametrize(
    ("group", "text", "case"),
    [
        ("gemm", "1x8x8", Gemm(1, 8, 8)),
        ("dynamic", "4x8x16", Dynamic(4, 8, 16)),
        ("dynamic", "M=1 K=N=768", Dynamic(1, 768, 768)),
        ("conv", "3x8x16x7x2", Conv(3, 8, 16, 7, 2)),
        ("conv", "3x3 64->64 @56", Conv(3, 64, 64, 56)),
        ("depthwise", "5x8x9", Conv(5, 8, 8, 9, 1, 8)),
        ("lstm", "1x16x3", Lstm(1, 16, 3)),
        ("pool", "8x9", Pool(8, 9)),
    ],
)
def test_shapes_are_read(group, text, case):
    assert cases.parse_shape(group, text) == case


def test_sweeps_grow():
    for name, jobs in cases.sweeps().items():
        sizes = [job.at for job in jobs]
        assert sizes == sorted(set(sizes)), name
        works = [job.case.work for job in jobs]
        assert works == sorted(works), name


# --- operands ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [Conv(3, 4, 6, 5), Conv(3, 4, 4, 6, 2, 4), Conv(1, 4, 8, 5, 2, 2), Conv(5, 3, 2, 7)])
def test_exact_sums_of_a_convolution(case):
    """Against the definition, one output at a time."""
    data = operands.make(case)
    sums = operands.exact_sums(case, data.x, data.w)
    x = np.pad(data.x[0].astype(int) - operands.X_ZERO, ((case.padding,) * 2,) * 2 + ((0, 0),))
    inputs, outputs = case.channels // case.groups, case.filters // case.groups
    for row, column, filter_ in np.ndindex(sums.shape[1:]):
        first = filter_ // outputs * inputs
        window = x[row * case.stride :, column * case.stride :, first : first + inputs][: case.kernel, : case.kernel]
        assert sums[0, row, column, filter_] == (window.transpose(2, 0, 1) * data.w[filter_].astype(int)).sum()


def test_the_probe_is_far_off_where_pairs_saturate():
    """255 · 127 · 256 is 8,290,560; pairs that stop at 32,767 give 4,194,176 less the same zero point's share."""
    case = Gemm(1, 1, 256)
    data = operands.probe(case)
    raw = 255 * 127 * 256
    assert raw == 8_290_560
    saturated = 32_767 * 128 - operands.X_ZERO * 127 * 256
    scale = operands.X_SCALE * operands.W_SCALE / data.out_scale
    assert data.agrees(data.result)
    assert not data.agrees(np.clip(np.rint([[saturated * scale]]) + operands.OUT_ZERO, 0, 255))


# --- runs -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compiler():
    import shutil

    if shutil.which("g++") is None:
        pytest.skip("the yardsticks need a C++ compiler")
    if support.EMULATED:
        pytest.skip("the host's compiler makes libraries for the host")


STATIC = Network("small", "mobilenet_v2", "MobileNetV2", (1, 3, 96, 96), 1e6, False, (10, 0.25))
DYNAMIC = Network("tiny", "bert", "BertEncoder", (1, 4, 16), 1e4, True, (1, 16, 2))


@pytest.fixture(scope="module")
def document(compiler, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OCTENSOR_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        return measured()


def measured():
    jobs = [
        cases.Job("gemm", Gemm(1, 8, 8)),
        cases.Job("gemm", Gemm(5, 16, 32)),
        cases.Job("conv", Conv(3, 4, 8, 6)),
        cases.Job("depthwise", Conv(3, 8, 8, 6, 2, 8)),
        cases.Job("dynamic", Dynamic(2, 8, 16)),
        cases.Job("lstm", Lstm(2, 8, 3)),
        cases.Job("elementwise", Elementwise("add", 4096)),
        cases.Job("pool", Pool(8, 9)),
        cases.Job("int4", cases.Int4(2, 16, 64)),
        cases.Job("networks", STATIC),
        cases.Job("sequences", DYNAMIC),
        cases.Job("sweep M", Gemm(2, 8, 8), 2),
        cases.Job("sweep M", Gemm(4, 8, 8), 4),
    ]
    return run.collect(jobs, ["numpy"], [1, 2], 2)


def test_the_document_is_json_with_one_schema(document):
    assert json.loads(json.dumps(document)) == document
    assert document["schema"] == run.SCHEMA
    assert len(document["results"]) == 26
    for result in document["results"]:
        assert {"group", "case", "threads", "unit", "at", "work", "entries", "skipped", "ceilings"} <= set(result)
        for entry in result["entries"]:
            network = {"sqnr", "footprint"} if result["group"] in ("networks", "sequences") else set()
            assert set(entry) - network == {"name", "peer", "precision", "exact", "ms", "noise", "rate"}
            assert set(entry["ms"]) == {"median", "minimum", "q1", "q3"}
            assert 0 < entry["ms"]["minimum"] <= entry["ms"]["median"]
            assert entry["rate"] == pytest.approx(result["work"] / entry["ms"]["median"] / 1e6)


def test_octensor_is_exact_in_every_case(document):
    own = [(r["case"], e["exact"]) for r in document["results"] for e in r["entries"] if e["peer"] == "octensor"]
    assert [case for case, exact in own if exact is False] == []
    assert sum(exact is True for _, exact in own) >= 20


def test_ceilings_belong_to_the_case(document):
    by_name = {r["case"]: set(r["ceilings"]) for r in document["results"]}
    assert {"port", "tile", "read once"} <= by_name["1x8x8"]
    assert by_name["maxpool 3x3 s2 8@9"] == {"copy"}


def test_summaries_hold_means_and_scaling(document):
    (row,) = [r for r in document["summary"] if (r["group"], r["threads"]) == ("gemm", 1)]
    ratios = [r["ratios"]["best"]["x"] for r in document["results"] if (r["group"], r["threads"]) == ("gemm", 1)]
    assert row["best"]["geomean"] == pytest.approx(timing.geometric_mean(ratios))
    assert row["best"]["minimum"] == min(ratios)
    assert any(line.startswith("tiny, octensor: 1 -> 2 threads") for line in report.summary_lines(document))


def test_a_missing_peer_is_skipped_with_its_reason(compiler, monkeypatch):
    monkeypatch.setitem(peers.PEERS, "absent", "absent:Absent")
    document = run.collect([cases.Job("gemm", Gemm(1, 8, 8))], ["absent"], [1], 1)
    assert "absent" in document["results"][0]["skipped"]["absent"]


def test_a_variant_that_fails_is_skipped_with_its_reason(compiler, monkeypatch):
    def refuse(data):
        raise RuntimeError("no such shape")

    from octensor.bench.peers import numpy_

    monkeypatch.setattr(numpy_.NumPy, "variants", lambda self, case: [peers.Variant("numpy odd", "fp32", refuse)])
    document = run.collect([cases.Job("gemm", Gemm(1, 8, 8))], ["numpy"], [1], 1, start=side.Side)
    assert document["results"][0]["skipped"] == {"numpy odd": "RuntimeError: no such shape"}


# --- a process for each runtime ---------------------------------------------------------------------------


def state(process):
    status = (Path("/proc") / str(process) / "status").read_text()
    return next(line.split()[1] for line in status.splitlines() if line.startswith("State"))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_child_stands_still_between_its_turns():
    import time

    numpy = child.Child("numpy", 1, ot.backends.cpu.get_isa())
    try:
        case = Gemm(2, 8, 8)
        names = [entry["name"] for entry in numpy.build(case, operands.make(case))]
        assert numpy.turn(names[0]) > 0
        for _ in range(100):
            if state(numpy._process.pid) == "T":
                break
            time.sleep(0.01)
        assert state(numpy._process.pid) == "T"
        with pytest.raises(RuntimeError, match="KeyError"):
            numpy.turn("nobody")
        assert numpy.turn(names[0]) > 0
        os.kill(numpy._process.pid, signal.SIGKILL)
        with pytest.raises(RuntimeError, match="numpy: its process ended with SIGKILL at 'turn'"):
            numpy.turn(names[0])
    finally:
        numpy.close()


def test_children_name_what_is_missing():
    with pytest.raises(ImportError, match="ncnn"):
        child.Child("ncnn", 1, ot.backends.cpu.get_isa())


# --- whole networks ---------------------------------------------------------------------------------------


def test_a_network_is_near_its_float_form_and_says_what_it_takes(document):
    found = [(r, e) for r in document["results"] for e in r["entries"] if "sqnr" in e]
    assert {r["case"] for r, _ in found} == {"small", "tiny"}
    assert all(e["sqnr"] > 5 for _, e in found)  # so small a network has little to average
    footprints = [e["footprint"] for r, e in found if r["threads"] == 1]
    assert all({"load s", "resident MB", "peak MB"} <= set(each) for each in footprints)
    header, lines = report.footprint_rows(document["results"])
    assert len(lines) == 2
    assert {len(line) for line in lines} == {len(header)}


def test_architectures_are_imported_once_for_each_text():
    changed = networks.architecture("lstm_tagger", changes=[("Made for", "Meant for")])
    assert changed is not networks.architecture("lstm_tagger")
    assert changed.__doc__ != networks.architecture("lstm_tagger").__doc__
    assert networks.architecture("bert") is networks.architecture("bert")


# --- what is shown ----------------------------------------------------------------------------------------


def test_tables_and_markdown_show_every_case(document, capsys):
    from octensor.bench import markdown

    report.show(document, full=True)
    printed, text = capsys.readouterr().out, markdown.render(document)
    for shown in (printed, text):
        assert all(result["case"] in shown for result in document["results"])
        assert "numpy fp32" in shown
        assert "INEXACT" not in shown


def test_a_chart_is_a_png(document, tmp_path):
    pytest.importorskip("matplotlib")
    from octensor.bench import chart

    chart.draw(document, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


# --- the command ------------------------------------------------------------------------------------------


def test_the_command_runs(compiler, tmp_path, capsys):
    target, text = tmp_path / "out.json", tmp_path / "out.md"
    arguments = ["bench", "gemm", "--peers", "none", "--shapes", "1x8x8", "--rounds", "2"]
    assert main([*arguments, "--json", str(target), "--markdown", str(text)]) == 0
    document = json.loads(target.read_text())
    assert [result["case"] for result in document["results"]] == ["1x8x8"]
    assert document["command"][:3] == ["octensor", "bench", "gemm"]
    assert "1x8x8" in capsys.readouterr().out
    assert "1x8x8" in text.read_text()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["gem"], "group 'gem': expected one of gemm, conv"),
        (["gemm", "--peers", "tensorflow"], "'tensorflow': expected all, none or some of numpy, torch"),
        (["gemm", "--shapes", "3x3"], "shape '3x3': expected MxNxK or one of"),
        (["gemm", "--shapes", "0x3x3"], "shape '0x3x3'"),
        (["gemm", "conv", "--shapes", "1x8x8"], "expected one group"),
        (["sweep", "--shapes", "depth"], "'depth': expected some of M, N, K"),
        (["gemm", "--threads", "0"], "expected positive integers"),
        (["gemm", "--rounds", "0"], "expected a positive integer"),
        (["gemm", "--isa", "avx10"], "avx10"),
    ],
)
def test_mistakes_are_named(arguments, expected, capsys):
    assert main(["bench", *arguments, *([] if "--peers" in arguments else ["--peers", "none"])]) == 2
    assert expected in capsys.readouterr().err


def test_info_needs_nothing_of_the_bench():
    """Neither peers nor what draws and prints is imported by the command itself."""
    code = (
        "import sys; from octensor.cli import main; main(['info']);"
        "assert not {'rich', 'matplotlib', 'torch', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_every_group_can_be_asked_for():
    assert {job.group for job in command.chosen_jobs(["all"], None)} == set(cases.GROUPS)
    assert [job.case for job in command.chosen_jobs([], None)] == list(cases.GROUPS["gemm"])


# --- holding peers to AVX2 --------------------------------------------------------------------------------


@pytest.mark.native
@pytest.mark.skipif(not mask.available(), reason="Linux on x86-64 with objdump")
def test_cpuid_is_found_by_disassembly_and_answered_without_avx512(compiler, tmp_path):
    source = tmp_path / "ask.cpp"
    source.write_text(
        "#include <cpuid.h>\n"
        'extern "C" const unsigned char decoy[] = {0x90, 0x0f, 0xa2, 0x90};\n'
        'extern "C" unsigned leaf7() { unsigned a, b, c, d; __cpuid_count(7, 0, a, b, c, d); return b; }\n'
    )
    package = tmp_path / "asker"
    package.mkdir()
    library = package / "ask.so"
    subprocess.run(["g++", "-O1", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    assert library.read_bytes().count(b"\x0f\xa2") >= 2
    assert len(mask.cpuid_offsets(library)) == 1

    mask._copy(package, tmp_path / "masked")
    preload = mask.compile_library("mask_cpuid.cpp", tmp_path / "mask.so")
    code = "import ctypes, sys; f = ctypes.CDLL(sys.argv[1]).leaf7; f.restype = ctypes.c_uint; print(f())"

    def ask(path):
        environment = {"LD_PRELOAD": str(preload), "PATH": "/usr/bin:/bin"}
        done = subprocess.run([sys.executable, "-c", code, str(path)], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    avx512 = 1 << 16 | 1 << 17 | 1 << 30 | 1 << 31
    real, masked = ask(library), ask(tmp_path / "masked" / "ask.so")
    assert masked & avx512 == 0
    assert masked & 1 << 5 == real & 1 << 5  # AVX2 stays
    assert masked == real & masked


# --- the page of figures ----------------------------------------------------------------------------------


def test_the_page_keeps_what_is_around_its_tables():
    import importlib.util
    from pathlib import Path

    path = Path(__file__).resolve().parents[1] / "scripts" / "performance.py"
    spec = importlib.util.spec_from_file_location("performance", path)
    performance = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(performance)
    page = performance.PAGE.read_text(encoding="utf-8")
    once = performance.replaced(page, "table one\n")
    assert performance.replaced(once, "table two\n") == once.replace("table one", "table two")
    assert once.startswith(page.partition(performance.BEGIN)[0])
    with pytest.raises(SystemExit):
        performance.replaced("no markers", "")
