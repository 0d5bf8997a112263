"""The images of docker/, built by a test's own engine from this machine's package mirrors."""

import functools
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from container_engine import Engine, unmount_below
from container_engine import why_not as why_no_engine

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
SWITCH = "GLET_TEST_IMAGES"
PROGRAMS = ("debootstrap", "docker-compose", "prometheus", "curl")
BASE = "glet-test-base"
# A wheel of the core and PyTorch's packages, on a busy machine.
BUILD_LIMIT_S = 3600.0
# The same each time: with another argument, all is built again.
WHEELS_PORT = 37125
# Debian's Prometheus under the name that compose.yaml has, laid out as the published image.
PROMETHEUS = f"""FROM {BASE}
COPY prometheus /bin/prometheus
RUN install --directory --owner nobody --group nogroup /prometheus
USER nobody
WORKDIR /prometheus
VOLUME /prometheus
ENTRYPOINT ["/bin/prometheus"]
"""


def why_not() -> str:
    """Why no images can be built here; empty when they can."""
    if not os.environ.get(SWITCH):
        return f"builds images for minutes, with packages from mirrors: {SWITCH}=1 runs it"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"needs {', '.join(missing)} (Debian packages of the same names)"
    return why_no_engine()


def prometheus_name() -> str:
    """The image that compose.yaml names."""
    lines = (DOCKER / "compose.yaml").read_text().splitlines()
    [name] = [line.split()[-1] for line in lines if "image: prom/prometheus" in line]
    return name


@contextmanager
def data_folder() -> Iterator[Path]:
    """Where engines keep images and volumes: a new folder, or that of the switch, which stays."""
    given = os.environ.get(SWITCH, "1")
    if given != "1":
        yield Path(given).resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="glet-images-"))
    yield folder
    unmount_below(folder)
    shutil.rmtree(folder, ignore_errors=True)


def build_all(engine: Engine) -> None:
    """glet:cpu, glet:cuda, and compose.yaml's Prometheus. What was built before is taken."""
    if engine.run("docker", "image", "inspect", BASE).returncode:
        made = engine.run(DOCKER / "debian-base.sh", BASE, limit_s=BUILD_LIMIT_S)
        assert made.returncode == 0, made.stderr[-4000:]
    with build_arguments() as given:
        for kind in ("cpu", "cuda"):
            options = [word for pair in given.items() for word in ("--build-arg", "=".join(pair))]
            build(engine, DOCKER / f"{kind}.Dockerfile", f"glet:{kind}", ROOT, *options)
    context = engine.folder / "prometheus"
    context.mkdir()
    shutil.copy(shutil.which("prometheus") or "", context)
    (context / "Dockerfile").write_text(PROMETHEUS)
    build(engine, context / "Dockerfile", prometheus_name(), context)


def build(engine: Engine, dockerfile: Path, tag: str, context: Path, *options: str) -> None:
    """Fails with the end of what was printed."""
    done = engine.run(
        *("docker", "build", "--network", "host", "--file", dockerfile, "--tag", tag),
        *(*options, context),
        limit_s=BUILD_LIMIT_S,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"


@contextmanager
def build_arguments() -> Iterator[dict[str, str]]:
    """As somebody behind mirrors gives them: where this machine's pip takes packages from.

    Its folder of wheels is served on loopback meanwhile; with one, PyTorch is taken from there.
    """
    given = {"PYTHON_IMAGE": BASE}
    if index := os.environ.get("PIP_INDEX_URL"):
        given["PIP_INDEX_URL"] = index
    wheels = os.environ.get("PIP_FIND_LINKS", "")
    if not Path(wheels).is_dir() or not wheels:
        yield given
        return
    with served(Path(wheels)) as address:
        yield given | {"PIP_FIND_LINKS": address, "PIP_EXTRA_INDEX_URL": ""}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder over HTTP; its address."""
    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", WHEELS_PORT), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
