# Two images: `docker build --target service .` (no torch) and `docker build --target worker .` (torch as pip resolves it
# on the platform: with CUDA on Linux x86-64).
#
# Dependencies are a layer of their own, below the project's wheel, so that a changed source costs seconds and no new
# copy of torch.

FROM python:3.11-slim-bookworm AS base
ENV PATH=/opt/congrad/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
# A fixed id, so that a mounted folder can be given to it.
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin congrad


# The project's name and dependencies, but none of its files yet.
FROM base AS dependencies
RUN python -m venv /opt/congrad
WORKDIR /src
COPY pyproject.toml constraints.txt ./
RUN touch README.md LICENSE


FROM base AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY client client
COPY service service
COPY worker worker
RUN pip wheel --no-deps --wheel-dir /wheel .


FROM dependencies AS service-dependencies
RUN pip install -c constraints.txt '.[service]' && pip uninstall --yes congrad


FROM base AS service
COPY --from=service-dependencies /opt/congrad /opt/congrad
COPY --from=wheel /wheel /tmp/wheel
RUN pip install --no-deps /tmp/wheel/*.whl
USER congrad
WORKDIR /home/congrad
# Reached from outside of its container, unlike one that runs on a host; so it does not start without CONGRAD_API_KEY or
# CONGRAD_API_KEYS_FILE.
ENV CONGRAD_HOST=0.0.0.0
EXPOSE 8000
CMD ["python", "-m", "congrad_service"]


FROM dependencies AS worker-dependencies
RUN pip install -c constraints.txt '.[worker,aggregators]' && pip uninstall --yes congrad


FROM base AS worker
COPY --from=worker-dependencies /opt/congrad /opt/congrad
COPY --from=wheel /wheel /tmp/wheel
RUN pip install --no-deps /tmp/wheel/*.whl
USER congrad
WORKDIR /home/congrad
CMD ["python", "-m", "congrad_worker", "gradients"]
