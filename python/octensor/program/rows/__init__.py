"""The table of all ops that programs know; importing this package fills it."""

from . import codes as codes
from . import dynamic as dynamic
from . import floats as floats
from . import layers as layers
from . import movement as movement
from . import sequences as sequences
