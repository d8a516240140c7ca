"""Specs: every problem at once, named as the user wrote it; and back to TOML."""

import tomllib
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import FunctionType

import pytest
import toy

from search.phases.description import also_limited
from search.spec import space_rules
from search.spec.checks import check_all, load_table, read_spec
from search.spec.writing import differences, to_table, to_toml
from spaces.errors import SpecError
from spaces.records import runtimes
from spaces.records.deploy import DeploySpec
from spaces.registry import Registry
from spaces.values import from_json, to_json

SPECS = sorted((Path(__file__).parents[3] / "search" / "specs").glob("*.toml"))


def problems_of(text):
    with pytest.raises(SpecError) as caught:
        toy.read(text)
    return list(caught.value.problems)


def changed(old, new):
    assert old in toy.SPEC
    return toy.SPEC.replace(old, new)


def test_defaults_and_values():
    spec, _ = toy.read()
    assert (spec.name, spec.seed, spec.budget.trials) == ("toy", 5, 8)
    assert spec.search.objectives == ("quality", "parameters")
    assert spec.cluster.cpus_per_worker == 1


def test_every_problem_at_once():
    text = """
    seed = -1
    colour = "red"
    [teacher]
    pth = "invented"
    [corpus]
    source = "docs"
    sequence_length = "long"
    [budget]
    trials = 0
    train_tokens = true
    [[tasks]]
    name = "a b"
    source = "docs:package"
    kind = "clasification"
    [search]
    sampler = "tpee"
    [cluster]
    concurrent_trial = 2
    """
    found = problems_of(text)
    for wanted in (
        "unknown section or key 'colour'",
        "seed: must be a whole number from 0",
        "[teacher] unknown key 'pth'. Did you mean 'path'?",
        "[teacher] path is required",
        "[corpus] sequence_length must be a whole number, got 'long'",
        "[budget] trials must be at least 1, got 0",
        "[budget] train_tokens must be a whole number, got True",
        "[[tasks]] a b kind: unknown 'clasification'. Did you mean 'classification'?",
        "[[tasks]] a b: name may hold letters",
        "[search] sampler: unknown 'tpee'. Did you mean 'tpe'?",
        "[cluster] unknown key 'concurrent_trial'. Did you mean 'concurrent_trials'?",
        "[space] method: missing",
        "[space] shape: missing",
    ):
        assert any(problem.startswith(wanted) for problem in found), wanted
    assert len(found) == 13


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("[cluster]", "[search]\nobjectives = ['parameters']\n[cluster]", "objectives must hold 'quality'"),
        ("[cluster]", "[search]\nobjectives = ['quality']\n[cluster]", "objectives must hold a cost (parameters"),
        ("[cluster]", "[search]\nobjectives = ['quality', 'price']\n[cluster]", "unknown objective 'price'"),
        ("[cluster]", "[search]\nconstraints = { quality = 1 }\n[cluster]", "'quality' is not a cost"),
        ("[cluster]", "[rungs]\nfirst_tokens = 20_000\n[search]\nsampler = 'gp'\n[cluster]", "'gp' has no say under"),
        ("[cluster]", "[rungs]\nfirst_tokens = 20_000\n[search]\ncandidates = 1\n[cluster]", "needs: set schedule ="),
        ("starts = false", "starts = false\nfinetune_learning_rates = [0]", "must be above 0, got 0.0"),
        ("starts = false", "starts = false\nfinetune_learning_rates = 1", "must be a list of numbers, got 1"),
        ("[cluster]", "[search]\nconstraints = { speed = 2 }\n[cluster]", "instead of 'speed' limit 'latency_ms'"),
        ("[cluster]", '[search]\nobjectives = ["quality", "speed", "latency_ms"]\n[cluster]', "names one twice"),
        (
            "[cluster]",
            "[search]\nconstraints = { parameters = -1 }\n[cluster]",
            "constraints.parameters must be above 0",
        ),
        ("[cluster]", "[cluster]\nworkers_per_trial = 3\n", "batch_size 16 is not a multiple of 3"),
        ("[cluster]", "[training]\nmixup = 0.1\n[cluster]", "learned maps, got 'hs'; fitting: 'mha'"),
        ("[cluster]", "[training]\nmixup = -1\n[cluster]", "mixup must be at least 0, got -1"),
        ("[cluster]", "[training]\nmixup = 0.1\n[targets]\nmode = 'cache'\n[cluster]", "reads the teacher anew"),
        ("[cluster]", "[training]\nmixup = 0.1\n[cluster]\nworkers_per_trial = 16\n", "is not a multiple of 32 (2 x"),
        (
            "ffn_ratio = [4.0]",
            "ffn_ratio = [1, 2, 3, 3.5, 4]\n[latency]\nthreads = 4\n[search]\nobjectives = ['quality', 'speed']",
            "[latency] threads 4 in a space of more than 40 shapes, where trials measure latency side by side: at most",
        ),
        ("train_tokens = 300_000", "train_tokens = 100", "less than one batch of 16 x 64 tokens"),
        (
            '["hs", "mha"]',
            '["hs", "hs for 0.001 then mha"]',
            "leaves the stage 'hs' of method 'hs for 0.001 then",
        ),
        ('["hs", "mha"]', '["hs for 0.001 then mha"]', "one batch of 16 x 64 tokens; nearest: 1024000"),
        ('["hs", "mha"]', '["hs then mha unfreezing"]', "'mha' trains none; methods that do: od, mlm, score"),
        ('["hs", "mha"]', '["hs on supplement then mha"]', "reads a supplement: name its text under [corpus] supp"),
        ("[corpus]", "[corpus]\nsupplement = 'docs'", "supplement is read by no method of [space]: leave it out"),
        ('["hs", "mha"]', '["hs", "embed"]', "method 'embed' embeds texts: it needs [corpus] texts = 'single'"),
        ('["hs", "mha"]', '["embed"]\nembedding_size = [64]', "embedding_size 64 is reached through a map that is"),
        ('["hs", "mha"]', '["embed"]\nembedding_size = [999]', "embedding_size 999 is more than the 384 values"),
        (
            "[corpus]",
            "[corpus]\ntexts = 'single'\nlanguage_temperature = 3",
            "language_temperature mixes packed blocks",
        ),
        ("[corpus]", "[corpus]\nqueries = 'q.txt'", "queries are single texts"),
        ('["hs", "mha"]', '["hs", "score"]', "needs a teacher that scores pairs, a sequence classifier with one label"),
        ("[corpus]", "[corpus]\ntexts = 'pairs'", "texts = 'pairs' needs a teacher that scores pairs"),
        ("[corpus]", "[corpus]\ntexts = 'pairs'", "reads files with the columns query and text, got source 'docs'"),
        ("sequence_length = 64", "sequence_length = 1000", "at most the teacher's 512 positions"),
        ("[cluster]", "[latency]\nsequence_length = 1000\n[cluster]", "must not exceed the 512 positions"),
        ("[cluster]", "[search]\nsampler = 'grid'\n[cluster]", "learning_rate: a grid needs a list of values"),
        ("hidden_size = [96, 192, 384]", "hiden_size = [96]", "Did you mean 'hidden_size'?"),
        ('path = "invented"', 'path = "./nosuch"', "there is no folder"),
        (
            'path = "invented"',
            'path = "$NOT_SET_HERE/x"',
            "[teacher] path: the environment variable NOT_SET_HERE is not set",
        ),
        ('kind = "classification"', 'kind = "classification"\nlabel = "x"', "unknown key 'label'"),
        (
            "starts = false",
            "documents = 'teacher'",
            "are compared with; the space has 96, 192. Or let every method have",
        ),
        ("starts = false", "documents = 'teacher'", "needs a task of kind retrieval or reranking"),
        (
            'kind = "classification"',
            'kind = "pair_classification"\nmetric = "average_precision"',
            "metric: 'average_precision' does not fit 'probe'. Known: accuracy, f1, matthews",
        ),
    ],
)
def test_rules(old, new, wanted):
    assert any(wanted in problem for problem in problems_of(changed(old, new)))


def test_a_supplement_is_read_with_a_live_teacher():
    text = changed('["hs", "mha"]', '["hs", "hs for 0.5 on supplement then mha"]')
    text = text.replace("[corpus]", "[corpus]\nsupplement = 'docs'")
    spec, space = toy.read(text)
    assert space.axes["method"].choices == ("hs", "hs on supplement then mha") and spec.corpus.supplement == "docs"
    found = problems_of(text.replace("[cluster]", "[targets]\nmode = 'cache'\n[cluster]"))
    assert found == [
        "[space] method 'hs on supplement then mha' reads the teacher live on the supplement, got [targets] mode "
        "'cache'; take 'auto' or 'live'"
    ]


def test_a_teacher_that_scores_pairs_is_scored_by_tasks_of_pairs():
    def scorer(path, embedding=None, tokenizer=None):
        return replace(toy.facts(path), labels=1)

    text = toy.SPEC.replace('"hs", "mha"', '"hs", "score"').replace("ffn_ratio", 'mapping = ["last"]\nffn_ratio')
    tables = tomllib.loads(text)
    tables["corpus"] |= {"source": "pairs", "texts": "pairs"}
    tables["tasks"] = [{"name": "a", "source": "a", "kind": "reranking", "metric": "ndcg_at_10"}]
    tables["evaluation"] |= {"protocol": "zero_shot"}
    check_all(tables, Path("/nowhere"), "toy.toml", scorer)
    tables["corpus"]["texts"], tables["deploy"] = "single", {"runtime": "onnx"}
    tables["tasks"] += [{"name": "b", "source": "b", "kind": "retrieval"}]
    tables["evaluation"]["documents"] = "teacher"
    with pytest.raises(SpecError) as caught:
        check_all(tables, Path("/nowhere"), "toy.toml", scorer)
    for wanted in (
        "[space] method 'score' scores a query with a text: it needs [corpus] texts = 'pairs'",
        "[[tasks]] b: teacher 'invented' scores pairs and embeds nothing, which retrieval needs. Kinds that score "
        "pairs: pair_classification, sts, reranking",
        "[evaluation] documents = \"teacher\": teacher 'invented' scores pairs and embeds nothing; leave it out",
        "[deploy] onnx fp32: teacher 'invented' scores pairs",
    ):
        assert any(problem.startswith(wanted) for problem in caught.value.problems), wanted


def classifier(path, embedding=None, tokenizer=None):
    """The facts of a classifier of three classes."""
    return replace(toy.facts(path), labels=3)


def test_a_classifier_is_learnt_from_single_texts_and_scored_by_its_head():
    text = toy.SPEC.replace('"hs", "mha"', '"hs then soft_labels", "labels"').replace(
        "ffn_ratio", 'mapping = ["last"]\ntemperature = [2.0]\nffn_ratio'
    )
    tables = tomllib.loads(text)
    tables["corpus"] |= {"source": "texts", "texts": "single", "label_column": "label"}
    tables["tasks"] = [{"name": "a", "source": "a", "kind": "classification"}]
    tables["evaluation"] |= {"protocol": "classifier"}
    check_all(tables, Path("/nowhere"), "toy.toml", classifier)
    tables["corpus"] = {**tables["corpus"], "texts": "packed", "source": "docs"}
    del tables["corpus"]["label_column"]
    tables["space"]["method"] += ["mlm", "labels on supplement"]
    with pytest.raises(SpecError) as caught:
        check_all(tables, Path("/nowhere"), "toy.toml", classifier)
    for wanted in (
        "[space] method 'soft_labels' classifies texts: it needs [corpus] texts = 'single' or 'sentences'",
        "[space] method 'labels' learns labels: name their column under [corpus] label_column",
        "[space] method 'labels on supplement': the supplement has no labels; leave 'on supplement' out",
        "[space] method 'mlm': 'mlm' makes a masked-LM head where [evaluation] protocol 'classifier' needs one",
    ):
        assert any(problem.startswith(wanted) for problem in caught.value.problems), (wanted, caught.value.problems)
    tables["space"]["method"] = ["hs"]
    del tables["space"]["temperature"]
    with pytest.raises(SpecError, match="protocol 'classifier' asks the head of a classifier with several labels"):
        check_all(tables, Path("/nowhere"), "toy.toml", toy.facts)


def test_labels_of_a_corpus_are_of_its_texts_as_they_are():
    found = problems_of(toy.SPEC.replace("[corpus]", "[corpus]\nlabel_column = 'y'\nnear_duplicates = 0.8"))
    for wanted in (
        "[corpus] label_column: a label is of a text as it is: texts = 'single', got 'packed'",
        "[corpus] label_column: labels are read of files, got source 'docs'",
        "[corpus] near_duplicates: texts with labels are read as they are; leave it out",
        "[corpus] label_column is read by no method of [space]: leave it out, or take the method 'labels'",
    ):
        assert wanted in found, (wanted, found)


def test_space_and_sections_are_reported_together():
    text = changed("hidden_size", "hiden_size").replace("trials = 8", "trials = 0")
    found = problems_of(text)
    assert any("[budget] trials" in problem for problem in found)
    assert any("Did you mean 'hidden_size'" in problem for problem in found)


def test_a_store_needs_a_bucket():
    found = problems_of(changed('source = "docs"', 'source = "s3://"').replace('"docs:package"', '"gs://"'))
    assert "'s3://' names no bucket: write s3://bucket/folder" in found
    assert any(each.startswith("[[tasks]] ") and "'gs://' names no bucket: write gs://" in each for each in found)


def test_a_spec_that_is_wrong_everywhere():
    """Each section has a value that cannot be read, and no rule on the others is silent for it."""
    text = """
    [teacher]
    path = "invented"
    [corpus]
    source = "hub:"
    text_column = 3
    sequence_length = 1000
    [budget]
    trials = 0
    train_tokens = 100
    [rungs]
    first_tokens = 200
    factor = 1
    [training]
    weight_decay = "none"
    gradient_accumulation = 3
    start = "$NOT_SET_HERE/student"
    [space]
    method = ["hs", "mha"]
    hiden_size = [96]
    num_layers = [2]
    hidden_size = [96]
    [[tasks]]
    name = "right"
    source = "hub:"
    kind = "classification"
    max_length = 1000
    [[tasks]]
    name = "measured"
    source = "docs:package"
    kind = "classification"
    metric = "acuracy"
    [[tasks]]
    name = "wrong"
    source = "docs:package"
    kind = "clasification"
    max_length = 2000
    [search]
    sampler = "tpee"
    objectives = ["quality", "price"]
    constraints = { parameters = -1 }
    [comparison]
    seeds = 2
    tune_shape = 5
    [cluster]
    concurrent_trials = 0
    gpus_per_worker = 1.5
    [latency]
    threads = 0
    sequence_length = 600
    [logging]
    callbacks = ["tensorbord"]
    """
    found = problems_of(text)
    wanted = (
        "[corpus] text_column must be a text, got 3",
        "'hub:' names no data set",
        "[corpus] sequence_length: must be at most the teacher's 512 positions",
        "[budget] trials must be at least 1, got 0",
        "[rungs] factor must be at least 2, got 1",
        "[training] weight_decay must be a number, got 'none'",
        "[training] start: the environment variable NOT_SET_HERE is not set",
        "[space] hiden_size: unknown axis. Did you mean 'hidden_size'?",
        "[[tasks]] right max_length must not exceed the 512 positions",
        "[[tasks]] measured metric: unknown 'acuracy'. Did you mean 'accuracy'?",
        "[[tasks]] wrong max_length must not exceed the 512 positions",
        "[[tasks]] wrong kind: unknown 'clasification'",
        "[search] sampler: unknown 'tpee'",
        "[search] unknown objective 'price'",
        "[search] constraints.parameters must be above 0",
        "[comparison] tune_shape must be a text, got 5",
        "[comparison] compares full budgets: leave [rungs] first_tokens out",
        "[comparison] runs every student of the space: leave [search] constraints out",
        "[cluster] concurrent_trials must be at least 1, got 0",
        "[cluster] gpus_per_worker must be a whole number or a share below 1, got 1.5",
        "[latency] threads must be at least 1, got 0",
        "[latency] sequence_length must not exceed the 512 positions",
        "[logging] unknown callback 'tensorbord'. Did you mean 'tensorboard'?",
    )
    missing = [each for each in wanted if not any(problem.startswith(each) for problem in found)]
    assert not missing
    assert len([problem for problem in found if problem.startswith("'hub:'")]) == 2  # the corpus and a task


def test_gp_is_offered_where_every_configuration_has_the_same_axes():
    gp = changed("[cluster]", "[search]\nsampler = 'gp'\n[cluster]")
    gp = gp.replace("[[tasks]]", "mapping = ['uniform', 'last']\n[[tasks]]", 1)
    assert [problem for problem in problems_of(gp) if "'gp' needs the same axes" in problem and "mapping" in problem]
    flat = gp.replace('method = ["hs", "mha"]', 'method = ["hs"]\ninitialisation = ["projected"]')
    toy.read(flat)


def test_rules_read_what_the_space_offers_when_sections_are_wrong():
    text = changed("trials = 8", "trials = 0").replace("train_tokens = 300_000", "train_tokens = 100")
    text = text.replace("concurrent_trials = 2", "concurrent_trials = 0\nworkers_per_trial = 3")
    found = problems_of(text.replace("[cluster]", "[comparison]\nseeds = 2\ntune_shape = '9x96'\n[cluster]"))
    for wanted in ("is not a multiple of 3", "less than one batch", "'9x96' is no shape", "a grid needs a list"):
        assert any(wanted in problem for problem in found), wanted


def test_a_teacher_that_cannot_be_read_hides_no_problem_of_the_space():
    found = problems_of(changed('path = "invented"', 'path = "./nosuch"').replace("hidden_size", "hiden_size"))
    assert any("there is no folder" in problem for problem in found)
    assert any("Did you mean 'hidden_size'" in problem for problem in found)


def test_two_tasks_of_one_name():
    block = toy.SPEC[toy.SPEC.index("[[tasks]]") : toy.SPEC.index("[evaluation]")]
    assert any("used 2 times" in problem for problem in problems_of(toy.SPEC + block))


def test_no_task():
    block = toy.SPEC[toy.SPEC.index("[[tasks]]") : toy.SPEC.index("[evaluation]")]
    assert any("at least one task" in problem for problem in problems_of(changed(block, "")))


def test_the_resolved_spec_is_a_spec_again():
    spec, _ = toy.read()
    again, _ = toy.read(to_toml(spec))
    assert again == spec
    assert differences(spec, again) == []
    assert to_table(again)["space"]["learning_rate"]  # defaults are written down


def test_what_makes_another_study():
    spec, _ = toy.read()
    more, _ = toy.read(changed("trials = 8", "trials = 80").replace("concurrent_trials = 2", "concurrent_trials = 1"))
    assert differences(spec, more) == []
    other, _ = toy.read(changed("seed = 5", "seed = 6"))
    assert differences(spec, other) == ["seed: 5 in the study, 6 in the spec"]


def test_what_a_search_may_cost():
    (found,) = problems_of(changed("trials = 8", "trials = 8\ncost = 20.0"))
    assert "[budget] cost needs [cluster] worker_price" in found
    priced = changed("trials = 8", "trials = 8\ncost = 20.0").replace("[cluster]", "[cluster]\nworker_price = 0.5")
    spec, _ = toy.read(priced)
    assert also_limited(spec) == ["a cost of 20, at 0.5 an hour of a worker"]
    assert differences(spec, toy.read()[0]) == []
    compared = priced.replace("[cluster]", "[comparison]\nseeds = 2\n[cluster]").replace("trials = 8\n", "")
    assert any(problem.startswith("[budget] cost: a comparison runs every trial") for problem in problems_of(compared))


def test_relative_paths_start_at_the_spec(tmp_path):
    (tmp_path / "model").mkdir()
    text = toy.SPEC.replace('"invented"', '"model"').replace('"docs"', '"text.txt"').replace("docs:package", "sst2")
    (tmp_path / "study.toml").write_text(text)
    table, folder = load_table(tmp_path / "study.toml")
    spec = read_spec(table, folder)
    assert spec.teacher.path == str(tmp_path / "model")
    assert spec.corpus.source == str(tmp_path / "text.txt")
    assert spec.tasks[0].source == str(tmp_path / "sst2")


def test_words_are_masked_in_packed_blocks_only():
    text = changed('["hs", "mha"]', '["hs", "mlm"]').replace("[corpus]", "[corpus]\ntexts = 'sentences'")
    assert any("method 'mlm' masks words of packed blocks" in problem for problem in problems_of(text))


def test_unreadable_files(tmp_path):
    with pytest.raises(SpecError, match="there is no spec file"):
        load_table(tmp_path / "nosuch.toml")
    (tmp_path / "bad.toml").write_text("a = ")
    with pytest.raises(SpecError, match="not valid TOML"):
        load_table(tmp_path / "bad.toml")


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_shipped_specs(path, tmp_path, monkeypatch):
    for name in ("STILLHOUSE_DATA", "STILLHOUSE_TEACHER"):
        monkeypatch.setenv(name, str(tmp_path))
    table, folder = load_table(path)
    spec = read_spec(table, folder, str(path))
    assert spec.name == path.stem
    assert read_spec(tomllib.loads(to_toml(spec)), folder) == spec


def test_a_sampler_of_another_package_that_cannot_be_loaded(monkeypatch):
    place = EntryPoint("patchy", "nowhere_at_all:patchy", "stillhouse.samplers")
    monkeypatch.setattr(space_rules, "SAMPLERS", Registry(FunctionType, "stillhouse.samplers", {"patchy": place}))
    spec, space = toy.read()
    spec = replace(spec, search=replace(spec.search, sampler="patchy"))
    (problem,) = space_rules.sampler_can_be_loaded(spec, space)
    assert problem.startswith("[search] sampler: 'patchy' of stillhouse.samplers cannot be loaded from nowhere_at_all")
    assert not list(space_rules.sampler_can_be_loaded(toy.read()[0], space))


def test_a_spec_with_a_byte_order_mark(tmp_path):
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbf" + b"seed = 3\r\n")
    assert load_table(tmp_path / "a.toml")[0] == {"seed": 3}


def test_several_precisions():
    several = f'{toy.SPEC}\n[deploy]\nruntime = "onnx"\nprecision = ["fp32", "int8"]\n'
    spec, _ = toy.read(several)
    assert [each.name for each in spec.deploy.each] == ["onnx fp32", "onnx int8"]
    assert (spec.deploy.name, spec.deploy.first) == ("onnx fp32 and int8", "fp32")
    assert toy.read(to_toml(spec))[0] == spec and from_json(DeploySpec, to_json(spec.deploy)) == spec.deploy
    assert toy.read(several.replace('"fp32", ', ""))[0].deploy == DeploySpec("onnx", "int8")
    assert problems_of(several.replace('"fp32"', '"int8", "int9"')) == [
        "[deploy] precision: unknown 'int9'. Did you mean 'int8'? Known: fp32, fp16, int8, int8-dynamic, int4-weights",
        "[deploy] precision names 'int8' more than once",
    ]
    assert problems_of(several.replace('["fp32", "int8"]', "[]")) == [
        "[deploy] precision must be a text or a list of texts, got []"
    ]
    (alone,) = problems_of(f'{several}quality_of = "student"\n')
    assert alone.startswith("[deploy] precision names 2, but quality_of = 'student' scores none of them")
    compared = problems_of(several.replace("[space]", "[comparison]\nseeds = 2\n[space]"))
    assert any(problem.startswith("[deploy] precision names several: a comparison has one row") for problem in compared)


def test_maps_that_stay_in_float_are_part_of_a_precision():
    several = f'{toy.SPEC}\n[deploy]\nruntime = "onnx"\nprecision = ["int8", "int8+2", "int4-weights+8"]\n'
    spec, _ = toy.read(several)
    assert [each.name for each in spec.deploy.each] == ["onnx int8", "onnx int8+2", "onnx int4-weights+8"]
    assert {each.place for each in spec.deploy.each} == {"onnx/model_quantized.onnx", "onnx/model_q4.onnx"}
    assert spec.deploy.of("int8+2").gains_by_vnni and not spec.deploy.of("int4-weights+8").gains_by_vnni
    assert toy.read(to_toml(spec))[0] == spec and from_json(DeploySpec, to_json(spec.deploy)) == spec.deploy
    told = "+ says how many maps stay in float, those whose rounding moves embeddings most"
    assert problems_of(several.replace('"int8+2"', '"int8+0", "fp32+2"')) == [
        f"[deploy] precision 'int8+0': {told}: a whole number from 1. Take int8+1, or int8 with none",
        f"[deploy] precision 'fp32+2': {told}; fp32 rounds none to integers. Take fp32, or + after int8 or "
        "int8-dynamic or int4-weights",
    ]
    dynamic = several.replace('"onnx"', '"openvino"').replace("int4-weights+8", "int8-dynamic+8")
    found = problems_of(dynamic)  # and that it is not installed, where it is not
    assert found[0].startswith("[deploy] precision 'int8-dynamic+8' under 'openvino': OpenVINO multiplies the integers")


def test_what_no_runtime_does_is_refused_with_what_comes_nearest(monkeypatch):
    assert toy.read()[0].deploy == DeploySpec()
    assert toy.read(f'{toy.SPEC}\n[deploy]\nruntime = "onnx"\nprecision = "int8"\n')[0].deploy.name == "onnx int8"
    found = problems_of(f'{toy.SPEC}\n[deploy]\nruntime = "tensorrt"\nprecision = "bf16"\nthreads = 1\n')
    assert found == [
        "[deploy] unknown key 'threads'. [latency] has it. Known: runtime, precision, tolerance, quality_of",
        "[deploy] runtime: unknown 'tensorrt'. Known: torch, onnx, openvino",
        "[deploy] precision 'bf16': onnxruntime multiplies no matrices in bfloat16 on a CPU, OpenVINO only on a "
        "processor that has it; fp16 is as small, and has more digits",
    ]
    assert problems_of(f'{toy.SPEC}\n[deploy]\nprecision = "int8"\n') == [
        "[deploy] precision 'int8' is of a file for another runtime than 'torch': add runtime = 'onnx' or "
        "runtime = 'openvino'"
    ]
    find = runtimes.find_spec
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    finetuning = changed("[evaluation]\n", '[evaluation]\nprotocol = "finetune"\n')
    memory = '[search]\nobjectives = ["quality", "peak_memory_mib"]\n[deploy]\nruntime = "onnx"\n'
    needs, finetuned, counted = problems_of(f"{finetuning}\n{memory}")
    assert needs == "[deploy] runtime 'onnx' needs the package onnxscript: pip install 'stillhouse[onnx]'"
    assert "set quality_of = 'student', or protocol = 'probe'" in finetuned
    assert counted == (
        "[search] 'peak_memory_mib' is measured under [deploy] runtime = 'torch' only, here it is 'onnx': take one of "
        "latency_ms, text_ms, memory_mb, disk_mb, or parameters, or that runtime"
    )
    size = f'{toy.SPEC}\n[search]\nobjectives = ["quality", "disk_mb"]\n'
    assert "under [deploy] runtime = 'onnx' or 'openvino' only, here it is 'torch'" in problems_of(size)[0]
    many = size.replace("disk_mb", "text_ms")
    assert "set it, to 32 for example" in problems_of(many)[0]
    resident = size.replace("disk_mb", "memory_mb")
    (asked,) = problems_of(resident)
    assert asked.startswith("[search] 'memory_mb' is measured in a process of its own") and "memory = true" in asked
    assert toy.read(f"{resident}[latency]\nmemory = true\n")[0].latency.memory
    on_gpu = problems_of(f'{resident}[latency]\nmemory = true\ndevice = "cuda"\n')
    (on_cpu,) = [each for each in on_gpu if "on the CPU" in each]
    assert on_cpu.endswith("device is 'cuda': set device = 'cpu', or leave memory out")
