# syntax=docker/dockerfile:1
# One image for all parts of a farm: head, worker, controller. TORCH=cpu or cuda.
#
#   docker build --build-arg TORCH=cpu -t veilfarm:0.1.0-cpu .
#   docker build --build-arg TORCH=cuda -t veilfarm:0.1.0-cuda .
#
# PyTorch's CUDA build brings NVIDIA's libraries with it: the host needs the driver and the container toolkit only.
ARG PYTHON=3.11.14-slim-bookworm

FROM python:${PYTHON} AS build
ARG TORCH=cpu
WORKDIR /opt/veilfarm
COPY . .
# tools/setup.sh takes every version from constraints.txt.
RUN --mount=type=cache,target=/root/.cache \
    PYTHON=python3 TORCH="${TORCH}" EXTRAS='' bash tools/setup.sh \
    && .venv/bin/python -m compileall -q .venv/lib cluster pipeline storage

FROM python:${PYTHON} AS farm
# OpenCV wants the first two; tini takes the place of an init, so that no dead process stays.
# hadolint ignore=DL3008  # Debian keeps one version of a package at a time
RUN apt-get update -qq \
    && apt-get install -qq -y --no-install-recommends libgl1 libglib2.0-0 tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --home-dir /home/veilfarm --create-home veilfarm \
    && install -d -o veilfarm -g veilfarm -m 700 /var/cache/veilfarm /run/veilfarm
COPY --from=build /opt/veilfarm /opt/veilfarm
# Links, since login shells forget PATH, and KubeRay starts Ray in one.
RUN ln -s /opt/veilfarm/.venv/bin/ray /opt/veilfarm/.venv/bin/veilfarm /usr/local/bin/
ENV PATH=/opt/veilfarm/.venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RAY_AUTH_MODE=token \
    VEILFARM_CACHE=/var/cache/veilfarm \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video
WORKDIR /home/veilfarm
USER 10001:10001
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 CMD ["/opt/veilfarm/deploy/farm.sh", "healthy"]
ENTRYPOINT ["tini", "--", "/opt/veilfarm/deploy/farm.sh"]
CMD ["veilfarm", "--help"]
