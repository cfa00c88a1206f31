# A container of cnn-archs, for `cnn-archs submit --cluster=kubernetes --image=...`:
#
#   docker build --build-arg EXTRA=cuda13 --tag cnn-archs .     (or tpu; without it: CPU)
#   docker run --gpus=all --volume=$PWD/runs:/runs cnn-archs train --workdir=/runs/digits
FROM python:3.13-slim

ARG EXTRA=""
RUN useradd --create-home --uid=1000 user
WORKDIR /home/user
COPY . /tmp/cnn_archs
RUN pip install --no-cache-dir "/tmp/cnn_archs${EXTRA:+[$EXTRA]}" kubernetes && rm -rf /tmp/cnn_archs
USER user
ENTRYPOINT ["cnn-archs"]
