"""The example files for clusters are what `ray up` and KubeRay read."""

import json
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml

FILES = Path(__file__).parents[1] / "docs" / "cluster"


def table(required=(), **properties):
    """A table with these keys and no others, as the API server prunes or refuses what a resource does not define."""
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


TEXT, COUNT = {"type": "string"}, {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
QUANTITIES = {"type": "object", "additionalProperties": {"type": "string", "pattern": r"^\d+(\.\d+)?(m|[KMGT]i)?$"}}
CONTAINER = table(
    ("name", "image", "resources"), name=TEXT, image=TEXT,
    env={"type": "array", "items": table(("name", "value"), name=TEXT, value=TEXT)},
    envFrom={"type": "array", "items": table(("secretRef",), secretRef=table(("name",), name=TEXT))},
    resources=table(("limits",), requests=QUANTITIES, limits=QUANTITIES),
    volumeMounts={"type": "array", "items": table(("name", "mountPath"), name=TEXT, mountPath=TEXT)},
)  # fmt: skip
VOLUME = table(("name", "configMap"), name=TEXT, configMap=table(("name",), name=TEXT))
POD = table(
    ("spec",),
    spec=table(
        ("containers",),
        containers={"type": "array", "minItems": 1, "items": CONTAINER},
        volumes={"type": "array", "items": VOLUME},
    ),
)
GROUP = {"rayStartParams": TEXTS, "template": POD}
WORKERS = table(
    ("groupName", "minReplicas", "maxReplicas", *GROUP),
    groupName=TEXT, replicas=COUNT, minReplicas=COUNT, maxReplicas=COUNT, **GROUP,
)  # fmt: skip
CLUSTER_SPEC = table(
    ("headGroupSpec",), rayVersion=TEXT, headGroupSpec=table(tuple(GROUP), **GROUP),
    workerGroupSpecs={"type": "array", "items": WORKERS},
)  # fmt: skip
JOB_SPEC = table(
    ("entrypoint", "rayClusterSpec"), entrypoint=TEXT, shutdownAfterJobFinishes={"type": "boolean"},
    backoffLimit=COUNT, rayClusterSpec=CLUSTER_SPEC,
)  # fmt: skip
SPECS = {"RayCluster": CLUSTER_SPEC, "RayJob": JOB_SPEC}
"""What we use of KubeRay's resources, by the types of its API ray.io/v1; the resources themselves define more."""


def read(name):
    return yaml.safe_load((FILES / name).read_text())


def test_ray_up_has_the_form_that_ray_checks():
    schema = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    config = read("ray-up.yaml")
    jsonschema.validate(config, schema)
    assert config["head_node_type"] in config["available_node_types"]


@pytest.mark.parametrize(("name", "kind"), [("raycluster.yaml", "RayCluster"), ("rayjob.yaml", "RayJob")])
def test_kuberay_finds_the_fields_that_it_defines(name, kind):
    resource = read(name)
    own = table(
        ("apiVersion", "kind", "metadata", "spec"), apiVersion={"const": "ray.io/v1"}, kind={"const": kind},
        metadata=table(("name",), name=TEXT), spec=SPECS[kind],
    )  # fmt: skip
    jsonschema.validate(resource, own)
    spec = resource["spec"].get("rayClusterSpec", resource["spec"])
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        mounted = {mount["name"] for container in pod["containers"] for mount in container.get("volumeMounts", ())}
        assert mounted == {volume["name"] for volume in pod.get("volumes", ())}
        (cache,) = {each["value"] for container in pod["containers"] for each in container["env"]}
        assert cache.startswith("s3://")  # no disk is shared
    wrong = {**resource, "spec": {**resource["spec"], "workerGroupSpec": []}}
    with pytest.raises(jsonschema.ValidationError, match="workerGroupSpec"):
        jsonschema.validate(wrong, own)


def test_the_job_brings_the_same_cluster_with_it():
    cluster, job = read("raycluster.yaml"), read("rayjob.yaml")
    assert job["spec"]["rayClusterSpec"] == cluster["spec"]
    for group in cluster["spec"]["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
