"""In a process that finds this first there is no torch, as with a user: tensorboardX imports it."""

raise ImportError("torch is the tests' own")
