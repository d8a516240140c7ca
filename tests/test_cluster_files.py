"""The example files for clusters are what `ray up` and KubeRay read."""

import json
from pathlib import Path

import jsonschema
import ray
import yaml

FILES = Path(__file__).parents[1] / "docs" / "cluster"


def test_ray_up_has_the_form_that_ray_checks():
    schema = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    config = yaml.safe_load((FILES / "ray-up.yaml").read_text())
    jsonschema.validate(config, schema)
    assert config["head_node_type"] in config["available_node_types"]


def test_the_job_brings_the_same_cluster_with_it():
    cluster = yaml.safe_load((FILES / "raycluster.yaml").read_text())
    job = yaml.safe_load((FILES / "rayjob.yaml").read_text())
    assert job["spec"]["rayClusterSpec"] == cluster["spec"]
    for group in cluster["spec"]["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert all(container["resources"]["limits"] for container in group["template"]["spec"]["containers"])
