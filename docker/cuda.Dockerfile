# glet for machines with NVIDIA GPUs and the NVIDIA container toolkit. From the top of the repository:
#   docker build --file docker/cuda.Dockerfile --tag glet:cuda .
#   docker run --rm --init --stop-timeout 40 --gpus all --volume "$PWD/models:/models:ro" --publish 127.0.0.1:8000:8000 glet:cuda
# The core takes the driver, MPS and nvidia-smi from the toolkit, CUDA's libraries from PyTorch's build.
# Where registries are reached through mirrors: docker/README.md says what each ARG is for.
ARG PYTHON_IMAGE=python:3.12.8-slim-bookworm

FROM ${PYTHON_IMAGE} AS compiler
ARG DEBIAN_MIRROR=http://deb.debian.org
# Of the build, and of the image: models are compiled for the machine when they are first loaded.
RUN find /etc/apt -name '*.sources' -exec sed -i "s|http://deb.debian.org|$DEBIAN_MIRROR|" {} + \
 && apt-get update \
 && apt-get install --yes --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/*

FROM compiler AS build
# pip reads these; they are not in the image.
ARG PIP_INDEX_URL
ARG PIP_FIND_LINKS
WORKDIR /src
COPY pyproject.toml CMakeLists.txt README.md LICENSE ./
COPY csrc csrc
COPY python python
COPY resource resource
COPY profiles profiles
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .
# PyTorch's builds have a local version there, which pip takes before that of PyPI.
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cu130
RUN python -m venv /opt/glet \
 && set -- /wheels/glet-*.whl \
 && /opt/glet/bin/pip install --no-cache-dir "$1[torch,gpu,grpc]"

FROM compiler
LABEL org.opencontainers.image.title="glet" \
      org.opencontainers.image.description="Serves many models on few devices, each within its latency objective" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --user-group --no-create-home glet \
 && install --directory --owner glet --group glet /models /var/cache/glet /home/glet
COPY --from=build /opt/glet /opt/glet
ENV PATH=/opt/glet/bin:$PATH \
    HOME=/home/glet \
    XDG_CACHE_HOME=/var/cache \
    PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /home/glet
USER 10001:10001
VOLUME /var/cache/glet
EXPOSE 5555 8000 8001
HEALTHCHECK --interval=10s --timeout=5s --start-period=900s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=4)"]
ENTRYPOINT ["glet"]
# Who may reach the ports is decided by what is published: see docker/README.md.
CMD ["up", "--models", "/models", "--listen", "tcp://0.0.0.0:5555", "--http", "0.0.0.0:8000", "--grpc", "0.0.0.0:8001", "--insecure"]
