"""The plan alone, with scores from a function; and what imports what in `studies`."""

import ast
import graphlib
import os
import pathlib
import subprocess
import sys

import pytest

from keras_ssl.studies.plan import Pause, Plan, Record, Step, best_of, file_name, mean_scores

STUDIES = pathlib.Path(__file__).parents[2] / "keras_ssl" / "studies"


def plan_of(draws=3, seeds=2, finalists=1, arms=("a", "b")):
    return Plan(dict.fromkeys(arms, 0), dict.fromkeys(arms, draws), seeds, finalists)


def run(plan, score=lambda step: step.draw, records=()):
    """Records of all trials, those in `records` first; `None` is the score of a failed one."""
    records = list(records)
    while isinstance(step := plan.next_step(records), Step):
        records.append(Record(step, True, score(step)))
    assert step is Pause.END and plan.done(records) == plan.planned(records)
    return records


def stages(records):
    return [(r.step.stage, r.step.arm, r.step.draw, r.step.seed) for r in records]


def test_arms_take_turns_and_the_last_word_is_by_new_seeds():
    plan = plan_of(draws=2)
    assert plan.planned([]) == 2 * (2 + 2 * 2)
    assert stages(run(plan)) == [
        ("search", "a", 0, 0),
        ("search", "b", 0, 0),
        ("search", "a", 1, 0),
        ("search", "b", 1, 0),
        *(("final", arm, 0, seed) for arm in "ab" for seed in (1, 2)),
        *(("final", arm, 1, seed) for arm in "ab" for seed in (1, 2)),
    ]


def test_finalists_are_confirmed_with_seeds_of_their_own():
    """Draw 2 was lucky with the search's seed; the others prefer draw 1."""
    plan = plan_of(4, 2, 3, ["a"])
    assert plan.planned([]) == 4 + 3 * 2 + 2 * 2
    luck = {0: 1.0, 1: 2.0, 2: 3.0, 3: 0.0}
    records = run(plan, lambda s: luck[s.draw] if s.stage == "search" else float(s.draw == 1))
    confirmed = [(draw, seed) for stage, _, draw, seed in stages(records) if stage == "confirm"]
    assert confirmed == [(draw, seed) for draw in (2, 1, 0) for seed in (1000, 1001)]
    assert plan.best_draw("a", records) == 1
    assert {(d, s) for stage, _, d, s in stages(records) if stage == "final"} == {
        (draw, seed) for draw in (0, 1) for seed in (1, 2)
    }


def test_later_steps_wait_for_trials_that_are_running():
    plan = plan_of(2, 1, 2, ["a"])
    search = [Step("a", "search", 0, 0), Step("a", "search", 1, 0)]
    records = [Record(search[0], True, 0.0), Record(search[1], False)]
    default = plan.next_step(records)
    assert default == Step("a", "final", 0, 1)  # This step does not depend on the search.
    records.append(Record(default, True, 0.0))
    assert plan.next_step(records) is Pause.WAIT
    records[1] = Record(search[1], True, 1.0)
    assert plan.next_step(records) == Step("a", "confirm", 1, 1000)
    records += [Record(Step("a", "confirm", draw, 1000), draw == 1, 1.0) for draw in (1, 0)]
    assert plan.next_step(records) is Pause.WAIT
    # A search that was longer before, and has a running trial, is not over either.
    shorter = plan_of(1, 1, 1, ["a"])
    assert shorter.next_step(records[:1] + [Record(search[1], False), records[2]]) is Pause.WAIT


@pytest.mark.parametrize("finalists", [1, 2])
def test_the_defaults_run_once_where_they_are_best(finalists):
    plan = plan_of(2, 2, finalists)
    records = run(
        plan, lambda step: step.draw if step.stage == "search" and finalists > 1 else -step.draw
    )
    assert plan.best_draw("a", records) == 0
    assert len(records) == 2 * (2 + 2 * finalists * (finalists > 1) + 2)


def test_a_plan_can_grow():
    records = run(plan_of(2, 1))
    more = stages(run(plan_of(4, 2), records=records))[len(records) :]
    assert [draw for stage, _, draw, _ in more if stage == "search"] == [2, 2, 3, 3]
    assert {(arm, draw, seed) for stage, arm, draw, seed in more if stage == "final"} == {
        (arm, draw, seed) for arm in "ab" for draw, seed in ((0, 2), (3, 1), (3, 2))
    }


def test_finalists_may_be_asked_for_later():
    records = run(plan_of(3, 1, 1, ["a"]))
    more = run(plan_of(3, 1, 2, ["a"]), lambda step: -step.draw, records)
    # Draw 2 was best and has its final run, but its confirmation shows that draw 1 is better.
    assert [(stage, draw) for stage, _, draw, _ in stages(more)[len(records) :]] == [
        ("confirm", 2),
        ("confirm", 1),
        ("final", 1),
    ]


def test_a_space_that_is_exhausted_ends_its_arms_search_alone():
    plan = plan_of(5, 1).without_draws_from(Step("a", "search", 2, 0))
    records = run(plan)
    draws = {arm: [r.step.draw for r in records if r.step.arm == arm] for arm in "ab"}
    assert draws == {"a": [0, 1, 0, 1], "b": [0, 1, 2, 3, 4, 0, 4]}


def test_an_arm_that_only_fails_ends():
    records = run(plan_of(3, 2, 2, ["a"]), lambda step: None)
    assert [stage for stage, *_ in stages(records)] == ["search"] * 3 + ["final"] * 2


def test_a_finalist_that_failed_more_often_is_out():
    searched = [(0, 0.1), (1, 0.2), (2, 0.3)]
    confirmed = [(2, 0.90), (1, 0.89), (1, 0.89), (0, 0.8), (0, 0.8)]
    means = mean_scores(searched, confirmed, 3)
    assert means == {0: 0.8, 1: 0.89} and best_of(searched, means) == 1
    assert best_of([], {}) is None


@pytest.mark.parametrize(
    ("arm", "name"),
    [("VICReg, M = 64", "vicreg-m-64"), ("../a/$b", "a-b"), ("Größe 界", "größe-界"), ("+", "")],
)
def test_names_of_files(arm, name):
    assert file_name(arm) == name


def test_long_names_of_files_differ():
    names = {file_name("界" * 60 + end) for end in "ab"}
    assert len(names) == 2 and all(len(os.fsencode(name)) < 230 for name in names)


# --- What imports what ----------------------------------------------------------------------------


def imports(path):
    """The modules of `studies` that a file imports, anywhere in it."""
    tree = ast.parse(path.read_text())
    found = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    return {
        m.removeprefix("keras_ssl.studies.") for m in found if m.startswith("keras_ssl.studies.")
    }


def test_the_plan_needs_neither_keras_nor_a_backend():
    """The module is loaded from its file, without its packages."""
    code = (
        "import importlib.util, sys\n"
        "spec = importlib.util.spec_from_file_location('plan', sys.argv[1])\n"
        "module = sys.modules['plan'] = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "print(*{'keras_tuner', 'tensorflow', 'keras', 'keras_ssl'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(STUDIES / "plan.py")]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_a_trials_walk_is_one_way():
    above = {path.stem: imports(path) for path in STUDIES.glob("*.py") if path.stem != "__init__"}
    order = list(graphlib.TopologicalSorter(above).static_order())  # Raises for a circle.
    assert above["plan"] == set()
    walk = ["plan", "oracle", "tuner", "study"]
    assert sorted(walk, key=order.index) == walk
    # Reading results does not need the modules that run trials.
    for name in ("results", "plots", "report"):
        assert above[name] <= {"plan", "results", "plots"}, name


def test_seeds_after_the_largest_begin_anew():
    plan = Plan({"a": 2**31 - 2}, {"a": 1}, 3, 1)
    assert [r.step.seed for r in run(plan)] == [2**31 - 2, 2**31 - 1, 0, 1]
