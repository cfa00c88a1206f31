# Containers of cnn-archs, for `cnn-archs submit --cluster=kubernetes --image=...`:
#
#   docker build --target=cpu --tag cnn-archs:cpu .
#   docker build --target=cuda --tag cnn-archs:cuda .     (or tpu)
#   docker run --gpus=all --volume=$PWD/runs:/runs cnn-archs:cuda train --workdir=/runs/digits
FROM python:3.13-slim AS source
RUN useradd --create-home --uid=1000 user
WORKDIR /home/user
COPY . /tmp/cnn_archs
ENTRYPOINT ["cnn-archs"]

# The driver of the host is all that CUDA needs besides these wheels.
FROM source AS cuda
RUN pip install --no-cache-dir "/tmp/cnn_archs[cuda13,kubernetes]" && rm -rf /tmp/cnn_archs
USER 1000

FROM source AS tpu
RUN pip install --no-cache-dir "/tmp/cnn_archs[tpu,kubernetes]" && rm -rf /tmp/cnn_archs
USER 1000

FROM source AS cpu
RUN pip install --no-cache-dir "/tmp/cnn_archs[kubernetes]" && rm -rf /tmp/cnn_archs
USER 1000
