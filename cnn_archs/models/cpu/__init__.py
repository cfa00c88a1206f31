"""Operations that XLA computes slowly on a CPU, in forms that a CPU computes fast.

A network is written in the layers of `models/layers.py` and `models/pooling.py`, which call these
functions; a new network needs none of them. On other backends each function is XLA's own operation.

    convolution.py       convolutions with small maps or few channels, in every program
    step_convolution.py  convolutions of a training step on one CPU
    batch_norm.py        batch normalization of a training step on one CPU
    max_pool.py, mean_pool.py, response_norm.py   the same operations, in every program
    training_step.py     tells the layers that a training step for one CPU is being traced
    isolate.py           keeps XLA from computing a result again in each of its readers
"""
