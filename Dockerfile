# The CPU image:
#   docker build -t nnrecipe .
#   docker run --rm -v "$PWD/data:/data" -v "$PWD:/workspace" nnrecipe run lenet5-fashion-mnist
#
# The CUDA image is this file with another pair of torch and torchvision, which bring CUDA's
# libraries along; the host needs NVIDIA's driver and container toolkit only:
#   docker build -t nnrecipe:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
#   docker run --rm --gpus all nnrecipe:cuda run quickstart --device cuda

FROM python:3.12-slim AS build
WORKDIR /src
RUN pip install --no-cache-dir build
COPY pyproject.toml README.md LICENSE ./
COPY configs configs
COPY nnrecipe nnrecipe
RUN python -m build --wheel --outdir /dist

FROM python:3.12-slim
# Both from one index: a torch and a torchvision of different builds can't be imported together.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" "torch>=2.11" "torchvision>=0.26"
RUN --mount=type=bind,from=build,source=/dist,target=/dist \
    pip install --no-cache-dir /dist/*.whl

# The code belongs to root and is run by someone who can't change it. Runs are written to
# /workspace/runs; data sets are read from /data. For files that belong to you on the host, add
# `--user "$(id -u)"` to `docker run`: nothing needs a home folder.
RUN useradd --uid 1000 --no-create-home nnrecipe \
    && install --directory --owner=nnrecipe /data /workspace
ENV NNRECIPE_DATA=/data \
    MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
VOLUME ["/data", "/workspace"]
WORKDIR /workspace
USER nnrecipe
ENTRYPOINT ["nnrecipe"]
CMD ["--help"]
