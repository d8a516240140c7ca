"""Latencies of a study compare: they are of one pace of the machine, or it is said that they are not."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import toy

from search.phases import latency_doors, shapes
from search.phases.latency_doors import look_at_latency
from search.phases.shapes import measure_shapes, shape_key
from search.spec.reading import Draft
from spaces.errors import SpecError
from spaces.records.latency import LatencySpec
from spaces.students.architecture import parse_shape

SHAPE = parse_shape("2x96", 24)


def alone(facts):
    """A teacher without weights whose students read its tokens."""
    teacher = SimpleNamespace(facts=facts)
    teacher.itself = teacher.source = teacher
    return teacher


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Takes `pace` for the fixed work and ten times that for any student; counts what is measured."""
    found = SimpleNamespace(paces=[1.0], measured=[], said=[], moved=[0.0])

    def reference(latency):
        return found.paces.pop(0) if len(found.paces) > 1 else found.paces[0]

    def measure(model, architecture, *rest):
        found.measured.append(architecture.name)
        return {
            "latency_p50_ms": 10.0 * found.paces[0],
            "latency_moved": found.moved.pop(0) if len(found.moved) > 1 else found.moved[0],
        }

    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path))
    monkeypatch.setattr(shapes, "reference_ms", reference)
    monkeypatch.setattr(shapes, "measure", measure)
    monkeypatch.setattr(shapes, "untrained", lambda *rest: None)
    monkeypatch.setattr(shapes, "shapes_to_measure", lambda space: [SHAPE])
    return found


def costs(machine, pace_ms=None, **changes):
    spec, space = toy.read()
    spec = replace(spec, **changes)
    teacher = alone(space.teacher)
    machine.measured.clear()
    machine.said.clear()
    found, pace = measure_shapes(spec, space, teacher, machine.said.append, 0.0, pace_ms)
    return found["teacher"]["latency_p50_ms"], found[shape_key(SHAPE)]["latency_p50_ms"], pace


def test_a_latency_is_kept_as_long_as_the_machine_has_its_pace(machine):
    assert costs(machine) == (10, 10, 1) and len(machine.measured) == 2
    machine.paces = [1.05]
    assert costs(machine) == (10, 10, 1.05) and not machine.measured and not machine.said
    machine.paces = [2.0]
    assert costs(machine) == (20, 20, 2) and len(machine.measured) == 2
    assert "2 shapes were measured before, when the machine was up to 2.0 times faster" in machine.said[0]
    assert costs(machine) == (20, 20, 2) and not machine.measured  # the later one is kept


def test_a_study_that_goes_on_keeps_its_pace(machine):
    costs(machine)
    machine.paces = [2.0]
    assert costs(machine, pace_ms=1.0) == (10, 10, 1) and not machine.measured


def test_lengths_of_texts_are_part_of_what_is_measured(machine, monkeypatch):
    spec, space = toy.read()
    assert shapes.timed_lengths(spec, ["a folder"], machine.said.append) == () and not machine.said
    monkeypatch.setattr(shapes, "load_task", lambda folder: folder)
    monkeypatch.setattr(shapes, "typical_lengths", lambda tasks, count: tuple(range(8, 8 + count)))
    spec = replace(spec, latency=LatencySpec(lengths="tasks", batch_size=2))
    lengths = shapes.timed_lengths(spec, ["a folder"], machine.said.append)
    assert len(lengths) == 32 and "24 tokens on the median, 37 at p95" in machine.said[0]
    teacher = alone(space.teacher)
    for own, count in ((lengths, 2), (lengths, 0), (lengths[1:], 2)):
        machine.measured.clear()
        measure_shapes(spec, space, teacher, machine.said.append, 0.0, None, own)
        assert len(machine.measured) == count


def test_what_was_measured_at_another_pace_is_measured_again_or_told(machine):
    machine.paces = [1.0, 1.0, 2.0, 1.0]  # of the study, the teacher, the student, and the student once more
    assert costs(machine)[2] == 1 and len(machine.measured) == 3 and not machine.said
    machine.paces = [1.0, 3.0]
    shapes.shutil.rmtree(shapes.cache_folder())
    costs(machine)
    assert len(machine.measured) == 6 and "3.0 times slower than for the others" in machine.said[-1]


def test_what_moved_while_it_was_measured_is_measured_again_told_and_not_kept(machine):
    machine.moved = [0.2, 0.3, 0.05, 0.3, 0.25]  # the teacher, the student; again both, and the student once more
    costs(machine)
    assert machine.measured.count("2x96h4") == 3 and len(machine.measured) == 5
    assert len(machine.said) == 1 and "the latency of 2x96h4 moved by 25%" in machine.said[0]
    costs(machine)
    assert set(machine.measured) == {"2x96h4"}  # the teacher's is known


def test_a_study_that_decides_by_latency_is_refused_where_it_does_not_settle(machine):
    machine.moved = [0.8]
    by_latency = replace(toy.read()[0].search, objectives=("quality", "speed"))
    with pytest.raises(SpecError) as refused:
        costs(machine, search=by_latency, latency=LatencySpec(threads=2))
    assert len(refused.value.problems) == 2 and len(machine.measured) == 2 * (1 + shapes.REPEATS)
    rule = refused.value.problems[1]
    assert "threads 2: the latency of 2x96h4 moved by 80%" in rule and "at most 50%" in rule
    assert "--set latency.threads=1" in rule
    with pytest.raises(SpecError) as refused:
        costs(machine, search=by_latency)
    assert "latency.threads=1" not in str(refused.value) and "on an idle machine" in str(refused.value)
    costs(machine)  # who does not decide by it is told, in one line
    assert len(machine.said) == 1 and "the latency of the teacher and 2x96h4 moved by up to 80%" in machine.said[0]
    machine.moved = [0.8, 0.8, 0.8, 0.8, 0.0]
    costs(machine, search=by_latency)
    assert not machine.said


@pytest.mark.parametrize(
    ("threads", "cores", "moved", "problem", "line"),
    [
        (8, 4, 0.0, "[latency] threads 8: at most 4, the cores of this machine: --set latency.threads=4", ""),
        (2, 4, 4.2, "a fixed piece of work moves by 420% (at most 50%), since other programs have the cores", ""),
        (2, 4, 0.3, "", "warning: [latency] threads 2: a fixed piece of work moves by 30%"),
        (2, 4, 0.1, "", ""),
        (1, 4, None, "", ""),  # is not even measured
    ],
)
def test_threads_that_cannot_be_timed_now_are_refused_at_the_door(threads, cores, moved, problem, line, monkeypatch):
    monkeypatch.setattr(latency_doors, "own_cores", lambda: cores)
    monkeypatch.setattr(latency_doors, "unsettled", lambda latency: {2: moved}[latency.threads])
    monkeypatch.setattr("os.getloadavg", lambda: (9.0, 9.0, 9.0))  # counts what we ourselves have done before
    spec, _ = toy.read()
    for names in (("latency_ms",), ("speed",)):
        problems, lines = [], []
        by_latency = replace(spec.search, objectives=("quality", *names))
        look_at_latency(replace(spec, search=by_latency, latency=LatencySpec(threads=threads)), problems, lines)
        assert (len(problems), len(lines)) == (bool(problem), bool(line))
        assert problem in "".join(problems) and line in "".join(lines)
    problems, lines = [], []
    look_at_latency(replace(spec, latency=LatencySpec(threads=threads)), problems, lines)
    look_at_latency(Draft({}), problems, lines)
    assert not problems and not lines
