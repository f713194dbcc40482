"""The table of all ops that programs know; importing this package fills it."""

from . import channels as channels
from . import codes as codes
from . import dynamic as dynamic
from . import elements as elements
from . import floats as floats
from . import integer as integer
from . import layers as layers
from . import masks as masks
from . import movement as movement
from . import places as places
from . import reduce as reduce
from . import sequences as sequences
