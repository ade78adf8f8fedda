"""What happens around training: meters, probes, checkpoints, time."""

from ebm.callbacks.metering import Metering as Metering
from ebm.callbacks.probing import Probing as Probing
from ebm.callbacks.online_probe import OnlineProbe as OnlineProbe
from ebm.callbacks.collapse_alarm import CollapseAlarm as CollapseAlarm
from ebm.callbacks.resuming import Resuming as Resuming
from ebm.callbacks.resuming import Stopped as Stopped
from ebm.callbacks.clock import Clock as Clock
