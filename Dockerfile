# Two images. The service, and decide workers, which need no torch:
#
#   docker build --target service --tag congrad-service .
#
# Gradients workers, with torch for CUDA, or with another build of it from an index of PyTorch's:
#
#   docker build --target worker --tag congrad-worker .
#   docker build --target worker --tag congrad-worker:cpu \
#     --build-arg TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu .
#
# Layers from the one that changes least, torch, to the one that changes most, the project itself, which has no part in
# building the others. Nothing here needs BuildKit.

# To pin it by its digest, or to take it from a mirror: --build-arg PYTHON_IMAGE=...
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# Extras of pyproject.toml, with commas between them: `quantization` is for CONGRAD_LOAD_IN_4BIT, `aggregators` for those
# of TorchJD, `liger` for kernels of Liger-Kernel.
ARG WORKER_EXTRAS=worker,otel

FROM ${PYTHON_IMAGE} AS base
ENV PATH=/opt/congrad/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
# A fixed id, so that a folder of the host can be given to it. Its home, and /gradients for a gradient store, are the only
# folders that it may write to, beside /tmp: a volume that is mounted there takes over their owner.
RUN useradd --uid 10001 --user-group --no-log-init --create-home --shell /usr/sbin/nologin congrad \
    && install --directory --owner congrad --group congrad --mode 750 /gradients \
    && python -m venv --without-pip /opt/congrad


FROM base AS requirements
ARG WORKER_EXTRAS
WORKDIR /src
COPY pyproject.toml constraints.txt scripts/image_requirements.py ./
RUN mkdir /requirements && python image_requirements.py /requirements "$WORKER_EXTRAS"


# The project without anything that it needs, where the images have it.
FROM base AS project
WORKDIR /src
COPY --from=requirements /requirements/constraints.txt ./
RUN pip install --constraint constraints.txt hatchling
COPY pyproject.toml README.md LICENSE ./
COPY client client
COPY service service
COPY worker worker
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
    && pip --python /opt/congrad/bin/python install --no-deps /wheel/*.whl \
    && ln -s "$(find /opt/congrad/lib -type d -name demo_data)" /opt/congrad/demo


FROM base AS service
COPY --from=requirements /requirements/constraints.txt /requirements/service.txt /opt/congrad/requirements/
RUN pip --python /opt/congrad/bin/python install \
    --constraint /opt/congrad/requirements/constraints.txt \
    --requirement /opt/congrad/requirements/service.txt
USER 10001:10001
WORKDIR /home/congrad
# Reached from outside of its container, unlike one that runs on a host; so it does not start without CONGRAD_API_KEY or
# CONGRAD_API_KEYS_FILE.
ENV CONGRAD_HOST=0.0.0.0
EXPOSE 8000
# Past any proxy that the environment names.
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s CMD ["python", "-c", \
    "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8000); c.request('GET', '/livez'); exit(c.getresponse().status != 200)"]
CMD ["python", "-m", "congrad_service"]
LABEL org.opencontainers.image.title="congrad-service" \
      org.opencontainers.image.description="Front end and decide worker of CONGRAD, which filters multilingual preference pairs" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=project /opt/congrad /opt/congrad


FROM base AS worker
ARG TORCH_INDEX_URL=""
COPY --from=requirements /requirements/torch.txt /opt/congrad/requirements/
# torch alone comes from that index; what it needs has the same pins everywhere.
RUN if [ -n "$TORCH_INDEX_URL" ]; then \
        pip --python /opt/congrad/bin/python install --no-deps --index-url "$TORCH_INDEX_URL" \
            "$(grep '^torch==' /opt/congrad/requirements/torch.txt)"; \
    fi \
    && pip --python /opt/congrad/bin/python install --requirement /opt/congrad/requirements/torch.txt
ARG WORKER_EXTRAS
# Triton compiles with it what launches kernels, on the machine that they run on; Python's headers are the image's own.
# hadolint ignore=DL3008 # no version of these is in what is computed, and Debian keeps none but the last
RUN case ",$WORKER_EXTRAS," in *,liger,*) \
        apt-get update \
        && apt-get install --yes --no-install-recommends gcc libc6-dev \
        && rm -rf /var/lib/apt/lists/* ;; \
    esac
COPY --from=requirements /requirements/constraints.txt /requirements/worker.txt /opt/congrad/requirements/
RUN pip --python /opt/congrad/bin/python install \
    --constraint /opt/congrad/requirements/constraints.txt \
    --requirement /opt/congrad/requirements/worker.txt
USER 10001:10001
WORKDIR /home/congrad
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
# As long as a checkpoint may take to load; the first success counts at once.
HEALTHCHECK --interval=15s --timeout=10s --start-period=3600s CMD ["python", "-m", "congrad_worker", "health"]
CMD ["python", "-m", "congrad_worker", "gradients", "auto"]
LABEL org.opencontainers.image.title="congrad-worker" \
      org.opencontainers.image.description="Gradients worker of CONGRAD, which filters multilingual preference pairs" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=project /opt/congrad /opt/congrad
