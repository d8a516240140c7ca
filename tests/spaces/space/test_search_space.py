"""The search space: what it draws, what it refuses, and what it says."""

import dataclasses
import itertools
import json
import pickle
import warnings

import numpy as np
import optuna
import pytest

from spaces.errors import InfeasibleConfig, SpecError
from spaces.space.axes import axes_of_trial
from spaces.space.reading import read_space
from spaces.space.search_space import config_hash, digest_of
from spaces.students.architecture import SHAPE_KEYS, SHAPES, StudentArchitecture, TeacherFacts, architecture_of
from spaces.students.layer_mapping import resolve_mapping
from trainables.models.families.bert import BertFacts

TEACHER = TeacherFacts(
    "own", BertFacts("bert"), StudentArchitecture(6, 384, 12, 1536), 30522, 512, 2, has_lm_head=True, digest="0"
)


@dataclasses.dataclass(frozen=True)
class Others:
    """Of "far" there are students without a masked-LM head, of "odd" none of even depth, of "shut" none at all."""

    def view(self, teacher, name):
        if name not in ("near", "far", "odd"):
            raise SpecError([f"no student of {name}"])
        return dataclasses.replace(teacher, family=OddFacts(name), masked_lm=name != "far")


class OddFacts(BertFacts):
    def problems(self, architecture):
        return ["layers must be odd"] if self.name == "odd" and architecture.num_layers % 2 == 0 else []


MIXED = dataclasses.replace(TEACHER, others=Others())
NO_HEAD = dataclasses.replace(TEACHER, name="minilm", has_lm_head=False)
CONFIG = {
    "method": "mha",
    "relation_heads": 12,
    "teacher_layer": 5,
    "num_layers": 3,
    "hidden_size": 192,
    "num_heads": 6,
    "intermediate_size": 768,
    "initialisation": "projected",
    "learning_rate": 1e-3,
    "batch_size": 16,
}
TABLES = {
    "shapes": {
        "method": ["mha", "hs", "od", "od + 0.5 hs", "mha_direct", "mlm"],
        "shape": ["3x192", "4x256", "3x384", "6x384", "12x384", "2x128", "4x312"],
        "mapping": ["uniform", "last", "last_k", "uniform_last", "uniform_consecutive", "1-2 2-4 3-5"],
    },
    "lists": {
        "method": ["mha", "hs", "0.1 hs + mlm"],
        "num_layers": [2, 3, 6, 8],
        "hidden_size": [192, 256, 384, 512],
        "num_heads": [4, 12],
        "ffn_ratio": [2, 4],
        "initialisation": ["random", "projected", "projected_layers"],
        "learning_rate": [1e-3, 2e-3],
    },
    "one": {"method": "mha", "shape": "3x192"},
}


def space_of(table, teacher=TEACHER, sequence_length=128):
    return read_space(table, teacher, sequence_length)


def problems_of(table, teacher=TEACHER, sequence_length=128):
    with pytest.raises(SpecError) as error:
        space_of(table, teacher, sequence_length)
    return error.value.problems


def grid_of(table):
    return space_of({"learning_rate": [1e-3]} | table)


def is_feasible(config, teacher):
    """The rules of the design, written out once more."""
    known = teacher.architecture
    layers, width, wide = config["num_layers"], config["hidden_size"], config["intermediate_size"]
    if width % config["num_heads"]:
        return False
    if "od" in config["method"].split() and not teacher.has_lm_head:
        return False
    if "relation_heads" in config and (
        width % config["relation_heads"] or known.hidden_size % config["relation_heads"]
    ):
        return False
    if "teacher_layer" in config and not 1 <= config["teacher_layer"] <= known.num_layers:
        return False
    if "mapping" in config:
        if layers > known.num_layers:
            return False
        if "-" in config["mapping"] and max(int(p.split("-")[0]) for p in config["mapping"].split()) != layers:
            return False
    start = config["initialisation"]
    if start == "teacher_layers" and (width, wide) != (known.hidden_size, known.intermediate_size):
        return False
    if start in ("projected", "projected_layers", "first_layers", "pruned_layers") and width > known.hidden_size:
        return False
    return layers <= known.num_layers or start in ("random", "projected")


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2"])
def test_draws_are_feasible_under_every_sampler(name, sampler):
    space = space_of(TABLES[name])
    samplers = {
        "random": lambda: optuna.samplers.RandomSampler(seed=0),
        "tpe": lambda: optuna.samplers.TPESampler(seed=0, multivariate=True, group=True, n_startup_trials=5),
        "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=0, population_size=10),
    }
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=samplers[sampler]())
    infeasible, seen = 0, []
    for _ in range(300 if sampler == "random" else 40):
        trial = study.ask()
        try:
            config = space.suggest(trial)
        except InfeasibleConfig:
            infeasible += 1
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        space.check(config)
        assert is_feasible(config, TEACHER)
        assert json.loads(json.dumps(config)) == config
        seen.append(config)
        study.tell(trial, [config["learning_rate"], config["num_layers"] * config["hidden_size"]])
    assert infeasible == 0
    if name != "one" and sampler == "random":
        assert {config["method"] for config in seen} == set(space.axes["method"].choices)


def test_recorded_draws_can_be_told_again():
    space = space_of(TABLES["shapes"])
    first = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    again = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Optuna warns when a recorded value is not among the choices
        for _ in range(50):
            trial = first.ask()
            config = space.suggest(trial)
            again.enqueue_trial(json.loads(json.dumps(trial.params)))
            assert space.suggest(again.ask()) == config


@pytest.mark.parametrize("name", TABLES)
def test_enumerate_yields_each_feasible_configuration_once(name):
    space = grid_of(TABLES[name])
    configs = list(space.enumerate())
    assert configs and len({config_hash(config, 0) for config in configs}) == len(configs)
    for config in configs:
        space.check(config)
        assert is_feasible(config, TEACHER)


def test_enumerate_misses_nothing():
    """Against every combination of every axis, filtered by the rules; of equal mappings and starts one is kept."""
    space = grid_of(TABLES["shapes"])
    expected = set()
    for method, student in itertools.product(space.axes["method"].choices, space.shapes):
        names = axes_of_trial(method)
        for values in itertools.product(*(space.axes[name].choices for name in names)):
            config = {
                "method": method,
                **{key: getattr(student, key) for key in SHAPE_KEYS},
                **dict(zip(names, values, strict=True)),
            }
            if is_feasible(config, TEACHER):
                if "mapping" in config:
                    config["mapping"] = resolve_mapping(config["mapping"], student.num_layers, 6)
                if (student.hidden_size, student.intermediate_size) == (384, 1536) and student.num_layers <= 6:
                    config["initialisation"] = config["initialisation"].replace("projected_layers", "teacher_layers")
                if config["initialisation"] in ("first_layers", "pruned_layers") and student.num_layers == 6:
                    same = student.intermediate_size == 1536 and student.hidden_size == 384
                    config["initialisation"] = "teacher_layers" if same else "projected_layers"
                expected.add(json.dumps(config, sort_keys=True))
    found = []
    for config in space.enumerate():
        if "mapping" in config:
            config["mapping"] = resolve_mapping(config["mapping"], config["num_layers"], 6)
        found.append(json.dumps(config, sort_keys=True))
    assert len(found) == len(set(found)) and set(found) == expected


def test_a_grid_over_a_range_is_refused():
    with pytest.raises(SpecError, match=r"\[space\] learning_rate: a grid needs a list"):
        next(space_of(TABLES["one"]).enumerate())


def test_defaults():
    table = space_of({"method": ["mha", "hs", "od"], "shape": ["3x192"]}).to_table()
    assert table == {
        "method": ["mha", "hs", "od"],
        "shape": ["3x192"],
        "mapping": ["held"],
        "relation_heads": [12, 24, 48, 64],
        "teacher_layer": [6, 5, 4],
        "temperature": [1.0, 2.0, 4.0],
        "initialisation": ["projected", "projected_layers", "first_layers", "pruned_layers"],
        "learning_rate": {"low": 3e-4, "high": 3e-3, "log": True},
        "batch_size": [16],
    }


def test_a_student_wider_than_its_teacher_starts_at_random():
    table = {"method": ["mlm"], "shape": ["4x512"]}
    assert "'random' fits every shape" in problems_of(table)[-1]
    assert space_of(table | {"initialisation": "random"}).feasible["mlm"]


def test_defaults_keep_only_what_fits():
    narrow = dataclasses.replace(TEACHER, architecture=StudentArchitecture(2, 120, 5, 480))
    table = space_of({"method": ["mha"], "shape": ["1x60"]}, narrow).to_table()
    assert table["relation_heads"] == [5, 12] and table["teacher_layer"] == [2, 1]


@pytest.mark.parametrize("name", TABLES)
def test_the_resolved_table_reads_back_as_the_same_space(name):
    space = space_of(TABLES[name])
    again = space_of(json.loads(json.dumps(space.to_table())))
    assert again.to_table() == space.to_table() and again.digest() == space.digest()
    assert pickle.loads(pickle.dumps(space)).digest() == space.digest()


def test_lists_of_dimensions_give_every_legal_shape():
    space = grid_of({"method": ["mlm"], "num_layers": [2, 3], "hidden_size": [192, 256], "num_heads": [8, 12]})
    shapes = {architecture_of(config) for config in space.enumerate()}
    heads = {(192, 8), (192, 12), (256, 8)}
    assert shapes == {StudentArchitecture(n, d, h, 4 * d) for n in (2, 3) for d, h in heads}


@pytest.mark.parametrize("table", [{"num_layers": [3, 4], "hidden_size": [192, 300, 312]},
                                   {"shape": ["3x192", "3x300", "3x312", "4x312"]}])  # fmt: skip
def test_heads_left_out_are_of_the_size_of_the_teachers_where_that_divides_the_width(table):
    space = grid_of({"method": ["mlm"], **table})
    found = {(c["num_layers"], c["hidden_size"]): c["num_heads"] for c in space.enumerate()}
    assert found[3, 192] == 6 and found[3, 300] == 5 and found[4, 312] == 12  # 12 of TinyBERT


def test_heads_may_be_an_axis_beside_shapes():
    space = grid_of({"method": ["mlm"], "shape": ["3x192", "2x96"], "num_heads": [6, 32, 64]})
    heads = {(c["hidden_size"], c["num_heads"]) for c in space.enumerate()}
    assert heads == {(192, 6), (192, 32), (192, 64), (96, 6), (96, 32)}
    (problem,) = problems_of({"method": ["mlm"], "shape": ["3x192h6", "2x96"], "num_heads": [6]})
    assert problem == "[space] num_heads: shape '3x192h6' says its heads already; write '3x192'"


def test_families_stand_beside_shapes():
    table = {"method": ["hs", "od"], "shape": ["3x192", "4x256"], "family": ["bert", "far", "odd"], "batch_size": 16}
    space = space_of(table | {"initialisation": ["random", "projected", "first_layers"], "learning_rate": 1e-3}, MIXED)
    configs = list(space.enumerate())
    seen = {(config["method"], architecture_of(config).name, config["initialisation"]) for config in configs}
    new, own = ("random", "projected"), ("random", "projected", "first_layers")
    shapes = {"3x192h6": own, "4x256h8": own, "3x192h6 odd": new}
    assert {(m, s, i) for m, s, i in seen if m == "od"} == {
        ("od", s, i) for s, starts in shapes.items() for i in starts
    }
    shapes |= {"3x192h6 far": new, "4x256h8 far": new}
    assert {(m, s, i) for m, s, i in seen if m == "hs"} == {
        ("hs", s, i) for s, starts in shapes.items() for i in starts
    }
    assert {config.get("family") for config in configs} == {None, "far", "odd"}  # no second name for the teacher's
    assert {space.values_of(config)["family"] for config in configs} == {"bert", "far", "odd"}
    assert space.own_axes[0].name == "family" and space_of(space.to_table(), MIXED) == space
    for config in configs:
        space.check(config)
    with pytest.raises(InfeasibleConfig, match="no student of shut"):
        space.check({**configs[0], "family": "shut"})
    drawn = {space.suggest(optuna.create_study().ask()).get("family") for _ in range(40)}
    assert drawn == {None, "far", "odd"}


@pytest.mark.parametrize(
    ("table", "problem"),
    [({"family": ["bert", "shut"]}, r"\[space\] family: no student of shut"),
     ({"family": "shut"}, r"\[space\] family: no student of shut"),
     ({"family": "far", "method": "mlm"}, "'mlm' needs a masked-LM head, which no model of type far has"),
     ({"family": "odd", "shape": "4x256"}, "layers must be odd"),
     ({"family": "near", "initialisation": "first_layers"},
      "copies layers, which a near student cannot take from bert; 'random' or 'projected' fits"),
     ({"shape": "3x192 near"}, "families stand in an axis of their own: '3x192', family = 'near'")],
)  # fmt: skip
def test_what_a_family_cannot_have_is_refused(table, problem):
    with pytest.raises(SpecError, match=problem):
        space_of({"method": "hs", "shape": "3x192"} | table, MIXED)


def test_a_teacher_without_other_families_is_refused_any():
    with pytest.raises(SpecError, match="a student of bert cannot be of another family, got 'near'"):
        space_of(TABLES["one"] | {"family": "near"})
    with pytest.raises(SpecError, match="it has the teacher's head over pairs"):
        space_of(TABLES["one"] | {"family": "near"}, dataclasses.replace(TEACHER, labels=1))


def test_a_space_without_families_is_what_it_was_before_there_were_any():
    axes = {
        "method": ["mha"], "num_heads": [4], "relation_heads": [8], "teacher_layer": [5],
        "initialisation": ["projected"], "learning_rate": [1e-3], "batch_size": [16],
    }  # fmt: skip
    shapes, teacher = [[3, 192, 4, 768], [4, 256, 4, 1024]], [6, 384, 1536]
    space = space_of({**axes, "shape": ["4x256", "3x192"]})
    assert space.digest() == digest_of({"axes": axes, "shapes": shapes, "teacher": teacher})
    assert config_hash(CONFIG, 0) == "fa3377ab86c9e405"


def test_digest_changes_with_the_space_only():
    base = {"method": ["mha", "hs"], "shape": ["3x192", "4x256"]}
    digest = space_of(base).digest()
    same = [
        dict(reversed(base.items())),
        base | {"method": ["hs", "mha"], "shape": ["4x256", "3x192"]},
        base | {"shape": ["3x192h6", "4x256/1024"]},
        base | {"batch_size": 16},
        space_of(base).to_table(),
    ]
    other = [
        base | {"method": ["mha"]},
        base | {"method": ["mha", "0.5 hs"]},
        base | {"shape": ["3x192", "4x256h4"]},
        base | {"batch_size": [16, 32]},
        base | {"learning_rate": {"low": 3e-4, "high": 3e-3}},
        base | {"learning_rate": [3e-4, 3e-3]},
        base | {"teacher_layer": [6, 5]},
        base | {"mapping": ["last"]},
    ]
    assert {space_of(table).digest() for table in same} == {digest}
    digests = [space_of(table).digest() for table in other]
    assert digest not in digests and len(set(digests)) == len(digests)
    deeper = dataclasses.replace(TEACHER, architecture=StudentArchitecture(7, 384, 12, 1536))
    assert space_of(space_of(base).to_table(), deeper).digest() != digest
    renamed = dataclasses.replace(TEACHER, name="another", digest="1", vocab_size=5)
    assert space_of(base, renamed).digest() == digest


def test_config_hash_depends_on_values_and_seed_alone():
    name = config_hash(CONFIG, 0)
    assert len(name) == 16 and int(name, 16) >= 0
    assert config_hash(dict(reversed(CONFIG.items())), 0) == name
    assert config_hash(CONFIG | {"teacher_layer": np.int64(5), "learning_rate": np.float64(1e-3)}, 0) == name
    assert config_hash(CONFIG, 1) != name and config_hash(CONFIG | {"teacher_layer": 6}, 0) != name
    hs = {key: value for key, value in CONFIG.items() if key not in ("relation_heads", "teacher_layer")}
    first = config_hash(hs | {"method": "od + 0.5 hs", "mapping": "1-2 3-6", "temperature": 2.0}, 0)
    assert first == config_hash(hs | {"method": "0.5hs+od", "mapping": "3-6 1-2", "temperature": 2}, 0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"relation_heads": 18}, "must divide the teacher's width 384, got 18; nearest that divides both widths: 16"),
        ({"relation_heads": 128}, "must divide the student's width 192, got 128"),
        ({"teacher_layer": 7}, "within 1 to 6, got 7; nearest legal: 6"),
        ({"teacher_layer": None}, "whole numbers of at least 1, got None"),
        ({"num_heads": 7}, "num_heads must divide hidden_size"),
        ({"num_layers": 4}, "shape 4x192h6 is not in this space"),
        ({"initialisation": "teacher_layers"}, "hidden_size equal to the teacher's 384"),
        ({"initialisation": "projekted"}, "Did you mean 'projected'"),
        ({"learning_rate": 1.0}, "learning_rate 1.0 is not in this space"),
        ({"batch_size": 32}, "batch_size 32 is not in this space"),
        ({"temperature": 2.0}, "temperature does not belong to a configuration of method 'mha'"),
        ({"method": "hs"}, "lacks mapping"),
        ({"method": "mha_direct"}, "relation_heads does not belong"),
        ({"method": "mhaa"}, "Did you mean 'mha'"),
    ],
)
def test_check_gives_its_reason(change, reason):
    space = space_of(TABLES["one"])
    space.check(CONFIG)
    with pytest.raises(InfeasibleConfig, match=reason):
        space.check(CONFIG | change)


def test_check_wants_every_key():
    space = space_of(TABLES["one"])
    for key in CONFIG:
        with pytest.raises(InfeasibleConfig, match=f"lacks {key}"):
            space.check({name: value for name, value in CONFIG.items() if name != key})


def test_check_refuses_a_second_name_for_the_same_mapping():
    config = {k: v for k, v in CONFIG.items() if k not in ("relation_heads", "teacher_layer")}
    config |= {"method": "hs", "num_layers": 6, "mapping": "uniform"}
    space = space_of({"method": "hs", "shape": ["3x192", "6x192"], "mapping": ["uniform", "last_k"]})
    space.check(config)
    with pytest.raises(InfeasibleConfig, match="mapping 'last_k' is the same as 'uniform' for a 6x192h6 student"):
        space.check(config | {"mapping": "last_k"})
    space.check(config | {"mapping": "last_k", "num_layers": 3})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"relation_head": [12]}, "[space] relation_head: unknown axis. Did you mean 'relation_heads'?"),
        ({"method": ["mha", "mhaa"]}, "[space] method: unknown method 'mhaa'. Did you mean 'mha'?"),
        ({"method": ["mha", "1.0 mha"]}, "[space] method: lists 'mha' twice"),
        ({"shape": ["3x192", "3x192/768"]}, "[space] shape: lists '3x192' twice"),
        ({"shape": ["3by192"]}, "[space] shape: shape '3by192' is not LAYERSxHIDDEN"),
        ({"shape": ["3x192h7"]}, "[space] shape: shape '3x192h7': num_heads must divide hidden_size, got 7"),
        ({"num_layers": [3]}, "[space] shape: give either shapes or num_layers"),
        ({"relation_heads": [12, 7]}, "[space] relation_heads: 7 is in no feasible configuration: relation heads must"),
        (
            {"relation_heads": [12, 128]},
            "divide the student's width 192, got 128; nearest that divides both widths: 96",
        ),
        ({"teacher_layer": [6, 9]}, "[space] teacher_layer: 9 is in no feasible configuration"),
        ({"teacher_layer": [0]}, "[space] teacher_layer: needs whole numbers of at least 1, got 0"),
        ({"temperature": [2.0]}, "[space] temperature: no method of this space uses it (used by od, soft_labels)"),
        (
            {"initialisation": ["random", "teacher_layers"]},
            "[space] initialisation: 'teacher_layers' is in no feasible",
        ),
        ({"batch_size": []}, "[space] batch_size: lists no value"),
        ({"batch_size": [True]}, "[space] batch_size: needs whole numbers of at least 1, got True"),
        ({"batch_size": {"low": 1, "high": 2}}, "[space] batch_size: needs a list of values; only temperature and"),
        ({"learning_rate": {"low": 1e-2, "high": 1e-3}}, "low < high must hold, got low=0.01, high=0.001"),
        ({"learning_rate": {"low": 1e-3, "hihg": 1e-2}}, "unknown key 'hihg' of a range. Did you mean 'high'?"),
        ({"learning_rate": {"low": 0, "high": 1}}, "[space] learning_rate: needs positive finite numbers, got 0"),
        ({"learning_rate": ["fast"]}, "[space] learning_rate: needs positive finite numbers, got 'fast'"),
    ],
)
def test_problems_name_key_rule_and_value(change, expected):
    table = {"method": ["mha"], "shape": ["3x192"]} | change
    assert any(expected in problem for problem in problems_of(table)), problems_of(table)


def test_od_without_a_head_is_refused_by_name():
    problems = problems_of({"method": ["mha", "od + 0.5 hs"], "shape": ["3x192"]}, NO_HEAD)
    assert len(problems) == 1
    assert "'od' needs a trained masked-LM head, which teacher 'minilm' does not have" in problems[0]
    space_of({"method": ["mha", "hs", "mlm"], "shape": ["3x192"]}, NO_HEAD)


def test_a_sequence_beyond_the_teacher_is_refused():
    (problem,) = problems_of(TABLES["one"], sequence_length=513)
    assert problem.startswith("[corpus] sequence_length") and problem.endswith("got 513; nearest legal: 512")
    space_of(TABLES["one"], sequence_length=512)


def test_all_problems_come_at_once():
    table = {"method": ["od"], "shape": ["3x192"], "batch": 3, "learning_rate": [0], "teacher_layer": 6}
    problems = "\n".join(problems_of(table, NO_HEAD, 1000))
    for key in ("[space] batch:", "learning_rate:", "teacher_layer:", "sequence_length:", "method: 'od'"):
        assert key in problems


def test_explicit_pairs_fit_their_depth_only():
    table = {"method": ["hs"], "shape": ["3x192", "4x256"], "mapping": ["uniform", "1-1 3-6"]}
    configs = list(grid_of(table).enumerate())
    assert {c["num_layers"] for c in configs if c["mapping"] == "1-1 3-6"} == {3}
    assert "ends at student layer 3" in problems_of(table | {"shape": ["4x256"]})[0]


@pytest.mark.parametrize(
    ("table", "rule"),
    [
        ({"method": ["hs"], "shape": ["12x384"]}, "a mapping must fit the depths of student and teacher"),
        (
            {"method": ["mha"], "shape": ["3x192"], "relation_heads": [128, 384]},
            "relation heads divide the student's width",
        ),
        ({"method": ["mlm"], "num_layers": [3], "hidden_size": [192], "num_heads": [7]}, "attention heads divide"),
        (
            {
                "method": ["hs"],
                "shape": ["3x192", "4x384"],
                "mapping": ["1-2 2-4 3-5"],
                "initialisation": "teacher_layers",
            },
            "no configuration is feasible. The rule that excluded the most, 1 of 2 combinations",
        ),
    ],
)
def test_an_empty_space_names_the_rule_that_excluded_the_most(table, rule):
    last = problems_of(table)[-1]
    assert last.startswith("[space] no configuration is feasible") and rule in last


def test_a_shape_that_no_method_can_serve_is_refused():
    (problem,) = problems_of({"method": ["hs"], "shape": ["3x192", "12x384"]})
    assert problem.startswith(
        "[space] shape: '12x384' is in no feasible configuration: a layer mapping needs num_layers"
    )


def test_named_shapes_all_work_with_a_large_teacher():
    large = dataclasses.replace(TEACHER, architecture=StudentArchitecture(12, 768, 12, 3072))
    space = space_of({"method": ["mha", "hs", "od", "mha_direct", "mlm"], "shape": list(SHAPES)}, large)
    assert all(len(students) == len(SHAPES) for students in space.feasible.values())
