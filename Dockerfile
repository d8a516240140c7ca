# stillhouse on the CPU, for one machine or as the image of every node of a Ray cluster (docs/how_to/cluster.md).
#   docker build -t stillhouse .
#   docker run -v stillhouse-cache:/cache -v $PWD:/work stillhouse stillhouse run my.toml studies/mine
FROM python:3.11-slim

# For GPUs: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cuNNN, a CUDA version that pytorch.org lists.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

# KubeRay asks for the health of a node with wget.
RUN apt-get update && apt-get install -y --no-install-recommends wget && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/stillhouse
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY spaces spaces
COPY trainables trainables
COPY search search
COPY analysis analysis
RUN pip install --no-cache-dir --constraint constraints.txt --index-url $TORCH_INDEX torch \
    && pip install --no-cache-dir --constraint constraints.txt '.[onnx]' 'ray[default]'

# /cache is shared by all runs and can be made again; /work holds specs, data and studies.
RUN useradd --uid 1000 --create-home stillhouse && install -d -o stillhouse /cache /work
ENV STILLHOUSE_CACHE=/cache
VOLUME /cache
USER stillhouse
WORKDIR /work
CMD ["stillhouse", "--help"]
