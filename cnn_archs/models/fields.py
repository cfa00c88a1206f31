"""The kinds of the fields of networks, which say the values that a config may give them.

`cnn_archs/knobs.py` reads the annotations.
"""

from typing import Annotated, Literal

Count = Annotated[int, "from 1 to 1000000"]
Pixels = Annotated[int, "from 0 to 32768"]
Side = Annotated[int, "from 1 to 32768"]
Rate = Annotated[float, "at least 0 and less than 1"]  # of dropout
Factor = Annotated[float, "more than 0 and at most 1000"]  # of widths
FactorOrZero = Annotated[float, "from 0 to 1000"]
BnGroup = Annotated[int, "from -1 to 1000000"]
Above0 = Annotated[float, "more than 0"]
AtLeast0 = Annotated[float, "at least 0"]
Maps = Annotated[int, "from 1 to 999 and odd"]  # of a window that is centered on a map
Dtype = Literal["float32", "bfloat16", "float16"]
