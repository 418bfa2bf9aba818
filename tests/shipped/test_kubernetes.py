"""The manifests and the chart: rendered by Helm, checked by the schemas of Kubernetes, and what they
configure checked by the program."""

import json
import os
import shutil
import subprocess
import tomllib
import unittest
from pathlib import Path

from support import DEPLOY, InFolder, program

try:
    import kubernetes_validate
    import yaml
except ImportError:
    kubernetes_validate = yaml = None

PROGRAM: Path
HELM = os.environ.get("EVENKEEL_HELM") or shutil.which("helm")
REQUIRED = os.environ.get("EVENKEEL_KUBERNETES") == "required"


def setUpModule() -> None:
    global PROGRAM
    PROGRAM = program()


def schemas(test):
    """Skips where there are none, unless they are required."""
    missing = kubernetes_validate is None and not REQUIRED
    return unittest.skipIf(missing, "without kubernetes-validate (EVENKEEL_KUBERNETES)")(test)


def charts(test):
    missing = (kubernetes_validate is None or HELM is None) and not REQUIRED
    return unittest.skipIf(missing, "without Helm or kubernetes-validate (EVENKEEL_KUBERNETES)")(test)


class Objects(InFolder):
    """What holds for any objects that are given to a cluster."""

    def assert_sound(self, text: str) -> list[dict]:
        objects = [one for one in yaml.safe_load_all(text) if one]
        self.assertTrue(objects)
        for one in objects:
            # Of Prometheus' operator, which is no part of Kubernetes.
            if one["kind"] != "ServiceMonitor":
                for version in VERSIONS:
                    kubernetes_validate.validate(one, version, strict=True)
        self.assert_probed(objects)
        self.assert_selected(objects)
        self.assert_configured(objects)
        return objects

    def assert_probed(self, objects: list[dict]) -> None:
        """An instance of ours has three probes, rights to nothing, and time to drain."""
        for pod in pods(objects):
            every = pod["spec"].get("initContainers", []) + pod["spec"]["containers"]
            own = [one for one in every if one["name"] == "evenkeel"]
            self.assertEqual(len(own), 1)
            named = {port["name"]: port["containerPort"] for port in own[0]["ports"]}
            started = own[0]["startupProbe"]["exec"]["command"]
            self.assertEqual(started[:3], ["/evenkeel", "status", "--ready"])
            for probe, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/livez")):
                self.assertEqual(own[0][probe]["httpGet"], {"path": path, "port": "admin"})
            self.assertIn("admin", named)
            security = own[0]["securityContext"] | pod["spec"].get("securityContext", {})
            self.assertEqual(security["capabilities"], {"drop": ["ALL"]})
            self.assertTrue(security["readOnlyRootFilesystem"] and security["runAsNonRoot"])
            self.assertFalse(security["allowPrivilegeEscalation"])
            writable = [one["mountPath"] for one in own[0]["volumeMounts"] if not one.get("readOnly")]
            self.assertIn("/run/evenkeel", writable)
            if own[0] in pod["spec"].get("initContainers", []):
                self.assertEqual(own[0]["restartPolicy"], "Always")

    def assert_selected(self, objects: list[dict]) -> None:
        """Whoever selects pods finds some, by ports that they have; whoever selects Services, one."""
        templates = pods(objects)
        services = {one["metadata"]["name"]: one for one in objects if one["kind"] == "Service"}
        for one in objects:
            wanted = one.get("spec", {}).get("selector", {})
            if one["kind"] in ("Service", "PodDisruptionBudget", "Deployment") and templates:
                labels = wanted if one["kind"] == "Service" else wanted["matchLabels"]
                found = [pod for pod in templates if labels.items() <= pod["metadata"]["labels"].items()]
                self.assertEqual(len(found), 1, one)
            if one["kind"] == "Service" and templates:
                every = found[0]["spec"].get("initContainers", []) + found[0]["spec"]["containers"]
                names = {port["name"] for container in every for port in container.get("ports", [])}
                self.assertLessEqual({port["targetPort"] for port in one["spec"]["ports"]}, names)
            if one["kind"] == "ServiceMonitor":
                found = [
                    service for service in services.values()
                    if wanted["matchLabels"].items() <= service["metadata"].get("labels", {}).items()
                ]
                self.assertEqual(len(found), 1, one)
                names = {port["name"] for port in found[0]["spec"]["ports"]}
                self.assertLessEqual({endpoint["port"] for endpoint in one["spec"]["endpoints"]}, names)

    def assert_configured(self, objects: list[dict]) -> None:
        """What they configure is taken, and is what their ports and times speak of."""
        maps = [one for one in objects if one["kind"] == "ConfigMap"]
        for one in maps:
            ((name, text),) = one["data"].items()
            shown = json.loads(self.checked(name, text))
            for pod in pods(objects):
                containers = pod["spec"].get("initContainers", []) + pod["spec"]["containers"]
                own = next(container for container in containers if container["name"] == "evenkeel")
                bound = {listener["bind"].rsplit(":")[-1] for listener in shown["listener"].values()}
                bound.add(shown["admin"]["http"].rsplit(":")[-1])
                self.assertEqual({str(port["containerPort"]) for port in own["ports"]}, bound)
                needed = sum(seconds(shown["shutdown"][word]) for word in ("grace", "drain"))
                self.assertGreater(pod["spec"]["terminationGracePeriodSeconds"], needed)
                # A directory for the state is there if it is used, and only then.
                places = {mount["mountPath"] for mount in own["volumeMounts"]} - {"/run/evenkeel"}
                state = shown.get("state_dir")
                self.assertEqual(state is not None, "/var/lib/evenkeel" in places)
                self.assertIn(state, places | {None})
                self.assertEqual(state is not None, "--last-good" in own.get("args", []))

    def checked(self, name: str, text: str) -> str:
        """The configuration as the program shows it, once it has found nothing to say about it."""
        path = self.folder / name
        path.write_text(text)
        for zone in ("", "eu-1a"):
            environment = {"ZONE": zone}
            done = subprocess.run(
                [str(PROGRAM), "check", "--strict", "--config", str(path)],
                capture_output=True, text=True, env=environment, check=False,
            )
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        if name.endswith(".json"):
            return text
        return json.dumps(tomllib.loads(text))


def pods(objects: list[dict]) -> list[dict]:
    return [one["spec"]["template"] for one in objects if one["kind"] == "Deployment"]


def seconds(time: str) -> int:
    return int(time.removesuffix("s"))


@schemas
class Manifests(Objects):
    def test_each_is_what_a_cluster_takes(self) -> None:
        for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
            with self.subTest(path.name):
                text = path.read_text()
                if path.name == "servicemonitor.yaml":
                    # It is for those of this one.
                    text = (DEPLOY / "kubernetes/edge.yaml").read_text() + "\n---\n" + text
                kinds = {one["kind"] for one in self.assert_sound(text)}
                self.assertIn("PodDisruptionBudget", kinds)

    def test_a_field_that_does_not_exist_is_found(self) -> None:
        text = (DEPLOY / "kubernetes/sidecar.yaml").read_text()
        with self.assertRaises(kubernetes_validate.ValidationError):
            self.assert_sound(text.replace("readinessProbe:", "readynessProbe:"))

    def test_a_port_that_nobody_has_is_found(self) -> None:
        text = (DEPLOY / "kubernetes/edge.yaml").read_text()
        with self.assertRaises(AssertionError):
            self.assert_sound(text.replace("targetPort: web", "targetPort: wep"))


@charts
class Chart(Objects):
    CHART = DEPLOY / "helm/evenkeel"

    def helm(self, *arguments: object) -> subprocess.CompletedProcess:
        """Without a home, and without a cluster."""
        environment = {"HOME": str(self.folder), "PATH": "/usr/bin:/bin"}
        command = [HELM, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    def rendered(self, values: dict) -> str:
        path = self.folder / "values.yaml"
        path.write_text(yaml.safe_dump(values))
        linted = self.helm("lint", "--strict", self.CHART, "--values", path)
        self.assertEqual(linted.returncode, 0, linted.stdout + linted.stderr)
        done = self.helm("template", "edge", self.CHART, "--values", path, "--kube-version=1.34")
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def refused(self, values: dict) -> str:
        path = self.folder / "values.yaml"
        path.write_text(yaml.safe_dump(values))
        done = self.helm("template", "edge", self.CHART, "--values", path)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        return done.stderr

    def test_without_values_it_says_that_it_waits_for_some(self) -> None:
        objects = self.assert_sound(self.rendered({}))
        kinds = sorted(one["kind"] for one in objects)
        expected = ["ConfigMap", "Deployment", "PodDisruptionBudget", "Service", "ServiceAccount"]
        self.assertEqual(kinds, expected)
        self.assertIn("Evenkeel is installed", json.dumps(objects))

    def test_every_value_goes_where_it_belongs(self) -> None:
        objects = self.assert_sound(self.rendered(ALL))
        kinds = [one["kind"] for one in objects]
        self.assertEqual(kinds.count("ServiceMonitor"), 1)
        (pod,) = pods(objects)
        (container,) = pod["spec"]["containers"]
        self.assertEqual(container["image"], f"registry.example.com/evenkeel@sha256:{'0' * 64}")
        self.assertEqual({one["name"] for one in container["env"]}, {"EVENKEEL_CONFIG", "ZONE", "REGION"})
        self.assertNotIn("annotations", pod["metadata"])
        spread = pod["spec"]["topologySpreadConstraints"]
        labels = pod["metadata"]["labels"].items()
        self.assertTrue(all(one["labelSelector"]["matchLabels"].items() <= labels for one in spread))

    def test_the_configuration_is_the_same_that_was_written(self) -> None:
        objects = list(yaml.safe_load_all(self.rendered(ALL)))
        written = next(one for one in objects if one and one["kind"] == "ConfigMap")
        config = json.loads(written["data"]["evenkeel.json"])
        own = ALL["config"]
        self.assertEqual(config["listener"], own["listener"])
        self.assertEqual(config["route"], own["route"])
        self.assertEqual(config["upstream"], own["upstream"])
        # Large whole numbers stay whole: they are not written as 1e+06.
        self.assertRegex(written["data"]["evenkeel.json"], r'"max_connections": 1000000\b')

    def test_a_value_can_be_taken_back(self) -> None:
        values = {"config": ALL["config"] | {"shutdown": {"drain": None}}}
        values["ports"] = ALL["ports"]
        written = next(
            one for one in yaml.safe_load_all(self.rendered(values)) if one and one["kind"] == "ConfigMap"
        )
        self.checked("evenkeel.json", written["data"]["evenkeel.json"])

    def test_a_change_of_the_configuration_starts_new_pods_where_that_is_wanted(self) -> None:
        def annotations(values: dict) -> dict:
            (pod,) = pods([one for one in yaml.safe_load_all(self.rendered(values)) if one])
            return pod["metadata"].get("annotations", {})

        def checksum(values: dict) -> str:
            return annotations({"restartOnChange": True} | values)["checksum/config"]

        self.assertEqual(checksum({}), checksum({"replicas": 5}))
        self.assertNotEqual(checksum({}), checksum({"config": {"zone": "a"}}))
        self.assertEqual(annotations({}), {})

    def test_a_mistake_is_told_by_its_place(self) -> None:
        said = self.refused({"config": {"listener": {"web": {"bnid": ":80"}}}})
        self.assertIn("bnid", said)
        self.assertIn("/config/listener/web", said)
        said = self.refused({"replicaCount": 3})
        self.assertIn("replicaCount", said)
        said = self.refused({"config": {"admin": {"http": None}}})
        self.assertIn("config.admin.http", said)


ALL = {
    "image": {"repository": "registry.example.com/evenkeel", "digest": f"sha256:{'0' * 64}"},
    "imagePullSecrets": [{"name": "registry"}],
    "replicas": 3,
    "config": {
        "zone": "${ZONE:-unknown}",
        "listener": {
            "web": {"bind": ":8080", "max_connections": 1_000_000},
            "https": {
                "bind": ":8443",
                "upstream": "shop",
                "limits": {"per_client": 50},
            },
        },
        "route": {
            "shop": {"hosts": ["shop.example.com"], "upstream": "shop", "retry": {"attempts": 3}},
            # Templates escape some of it, and JSON the rest.
            "text": {"hosts": ["b.example.com"], "respond": {"body": "<b>&amp; \"ä\" {{ }} \\ \n"}},
        },
        "upstream": {
            "shop": {
                "endpoints": ["shop:80", {"address": "10.0.0.1:80", "weight": 2}],
                "health": {"http": {"path": "/healthz"}},
            }
        },
    },
    "ports": [
        {"name": "web", "containerPort": 8080, "servicePort": 80},
        {"name": "https", "containerPort": 8443, "servicePort": 443, "protocol": "TCP"},
    ],
    "service": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "annotations": {"a": "b"}},
    "restartOnChange": False,
    "podDisruptionBudget": {"maxUnavailable": "34%"},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "serviceAccount": {"annotations": {"a": "b"}},
    "extraVolumes": [{"name": "tls", "secret": {"secretName": "tls"}}],
    "extraVolumeMounts": [{"name": "tls", "mountPath": "/tls", "readOnly": True}],
    "env": [{"name": "REGION", "value": "eu"}],
    "envFrom": [{"secretRef": {"name": "secrets"}}],
    "podLabels": {"team": "edge"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "edge", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "system-cluster-critical",
}

# The oldest that has native sidecars by default, and the newest that there are schemas for here.
VERSIONS = ["1.29", "1.37"]

if __name__ == "__main__":
    unittest.main()
