"""The table of all ops that are written as ONNX; importing this package fills it."""

from . import dynamic as dynamic
from . import elementwise as elementwise
from . import layers as layers
from . import movement as movement
from . import recurrent as recurrent
from . import reduction as reduction
from . import whole as whole
