"""Debian's Prometheus, watching a cluster of these tests."""
import json
import shutil
import urllib.parse

from processes import SOURCE, Process, fetch, free_port


def start_prometheus(folder, coordinator_http):
    """Starts Prometheus with the delivered configuration; returns process and address."""
    text = (SOURCE / "deploy/prometheus/prometheus.yml").read_text()
    assert "127.0.0.1:7071" in text and "15s" in text and "10s" in text
    # The file as it is, but for the port and the waiting times.
    text = text.replace("127.0.0.1:7071", coordinator_http).replace("15s", "1s").replace("10s", "1s")
    (folder / "prometheus.yml").write_text(text)
    shutil.copy(SOURCE / "deploy/prometheus/alerts.yml", folder)
    address = f"127.0.0.1:{free_port()}"
    command = [shutil.which("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
    return Process("prometheus", [*command, f"--web.listen-address={address}", "--log.level=warn"], folder / "prometheus.log"), address


def query(address, expression):
    """{labels: value} of an instant query; empty while Prometheus starts."""
    page = fetch(address, "/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
    if page is None:
        return {}
    answer = json.loads(page)
    assert answer["status"] == "success", answer
    return {tuple(sorted(series["metric"].items())): float(series["value"][1]) for series in answer["data"]["result"]}


def labels(series, name):
    """The values that a label has in the answer of a query."""
    return {dict(key).get(name) for key in series}
