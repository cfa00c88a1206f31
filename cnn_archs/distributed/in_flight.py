"""Bounds the calls of compiled programs that the host dispatches ahead of the devices.

A call returns before the devices have run it. So the host reads the next batch and sends it while
the devices work. Without a bound it would send all batches of a dataset at once, if it reads faster
than the devices work, and they would fill the memory of the devices.
"""

from collections import deque

import jax
from jax.sharding import Mesh

from cnn_archs.distributed import mesh as meshes

MOST_IN_FLIGHT = 2  # calls: one runs, and the next waits on the devices with its batch


class InFlight:
    """Bounds the calls of one program that were dispatched and have not ended.

    chained: whether each call takes a result of the one before. most: the bound, MOST_IN_FLIGHT. It
    is 1 on a CPU in two cases. Calls that are not chained would run there at the same time, and
    take the memory of two. Several simulated devices meet in an all-reduce: with several calls in
    flight, their threads can wait for each other forever.
    """

    def __init__(self, mesh: Mesh, *, chained: bool = False):
        one_by_one = meshes.is_cpu(mesh) and not (chained and mesh.size == 1)
        self.most = 1 if one_by_one else MOST_IN_FLIGHT
        self.results: deque[jax.Array] = deque()

    def add(self, result: jax.Array) -> None:
        """Note a call that was dispatched, and wait until another one may be.

        result: an array of the call, which is ready when the call has ended, and which is donated
        to no other call.
        """
        self.results.append(result)
        while len(self.results) >= self.most:
            jax.block_until_ready(self.results.popleft())
